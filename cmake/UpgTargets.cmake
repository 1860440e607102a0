# What every folder's CMakeLists.txt is written in: one library, its tests, its fuzz targets.

add_library(upg_flags INTERFACE)
target_compile_features(upg_flags INTERFACE cxx_std_20)
target_include_directories(upg_flags INTERFACE
  $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

# Flags for our own sources only; they do not travel with the installed package.
add_library(upg_build_flags INTERFACE)
target_compile_options(upg_build_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
  -Wimplicit-fallthrough -Wno-unused-parameter -fno-math-errno -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees overlapping copies in std::string's own code (GCC bug 105651).
  target_compile_options(upg_build_flags INTERFACE -Wno-restrict)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # std::stable_sort of libstdc++ 12 calls what C++17 deprecated, and recent clangs blame its caller.
  target_compile_options(upg_build_flags INTERFACE -Wno-deprecated-declarations)
endif()
if(UPG_WERROR)
  target_compile_options(upg_build_flags INTERFACE -Werror)
endif()
# By the target's property UPG_SANITIZED: nothing (all), few, none. Options of the target itself come
# before these, which would undo them.
set(sanitized "$<TARGET_PROPERTY:UPG_SANITIZED>")
set(any "$<NOT:$<STREQUAL:${sanitized},none>>")
if(UPG_SANITIZE)
  target_compile_options(upg_build_flags INTERFACE -fno-omit-frame-pointer
    "$<${any}:-fsanitize=address,undefined;-fno-sanitize-recover=all>"
    "$<$<STREQUAL:${sanitized},few>:-fno-sanitize=null,alignment,pointer-overflow>")
  target_link_options(upg_build_flags INTERFACE -fsanitize=address,undefined)
endif()
if(UPG_FUZZ)
  target_compile_options(upg_build_flags INTERFACE "$<${any}:-fsanitize=fuzzer-no-link>")
endif()
if(NOT UPG_SANITIZE)
  target_compile_definitions(upg_build_flags INTERFACE _GLIBCXX_ASSERTIONS)
endif()

# upg_library(NAME [NOT_INSTALLED] SOURCES a.cc ... DEPS upg_base ... PRIVATE_DEPS fmt::fmt ...)
function(upg_library name)
  cmake_parse_arguments(ARG "NOT_INSTALLED" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC upg_flags ${ARG_DEPS}
    PRIVATE $<BUILD_INTERFACE:upg_build_flags> ${ARG_PRIVATE_DEPS})
  if(NOT ARG_NOT_INSTALLED)
    set_property(GLOBAL APPEND PROPERTY UPG_LIBRARIES ${name})
  endif()
endfunction()

# upg_test(NAME SOURCES a_test.cc ... DEPS upg_base ...)
function(upg_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  if(NOT UPG_TESTS)
    return()
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE upg_build_flags ${ARG_DEPS} GTest::gtest_main GTest::gmock)
  target_compile_definitions(${name} PRIVATE UPG_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  # What is tested is optimised; the tests themselves run once and are built often.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1> $<$<CONFIG:RelWithDebInfo>:-O0>)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 900)
endfunction()

if(UPG_FUZZ)
  add_custom_target(fuzzers)
endif()

# upg_fuzz(NAME SOURCE x_fuzz.cc DEPS ...): a libFuzzer target, its seeds in tests/fuzz/NAME.
function(upg_fuzz name)
  cmake_parse_arguments(ARG "" "SOURCE" "DEPS" ${ARGN})
  if(NOT UPG_FUZZ)
    return()
  endif()
  add_executable(${name} ${ARG_SOURCE})
  target_link_libraries(${name} PRIVATE upg_build_flags ${ARG_DEPS})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers ${name})
endfunction()
