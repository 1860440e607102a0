# Whether the CUDA backend is built. UPG_CUDA: AUTO (when the toolkit is here), ON (fail without),
# OFF. Sets UPG_HAS_CUDA and says what was found.
#
# The default architectures run on compute capability 8.x and 9.0 as they are, on later ones by way
# of the driver's compiler. For binaries of all of them:
#   -DCMAKE_CUDA_ARCHITECTURES="80-real;86-real;89-real;90-real;100-real;120"
set(UPG_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO, ON, OFF")
set_property(CACHE UPG_CUDA PROPERTY STRINGS AUTO ON OFF)
set(UPG_HAS_CUDA FALSE)
if(UPG_CUDA STREQUAL "OFF")
  message(STATUS "CUDA backend: off (UPG_CUDA=OFF)")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90 CACHE STRING "GPU architectures")
endif()
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND EXISTS /usr/local/cuda/bin/nvcc)
  set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
endif()
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  # Older CMakes take the C++ standard for CUDA's too, and know no flag for it.
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit 12.3)
endif()
if(CMAKE_CUDA_COMPILER AND TARGET CUDA::cudart_static)
  set(UPG_HAS_CUDA TRUE)
  message(STATUS "CUDA backend: built with ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION} "
    "for ${CMAKE_CUDA_ARCHITECTURES}")
elseif(UPG_CUDA STREQUAL "ON")
  message(FATAL_ERROR "UPG_CUDA=ON, but there is no CUDA toolkit of version 12.3 or newer (nvcc and "
    "the static runtime)")
else()
  message(STATUS "CUDA backend: not built, no CUDA toolkit of version 12.3 or newer here")
endif()
