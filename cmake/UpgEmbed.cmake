# upg_embed(OUTPUT web_files.cc HEADER "server/web/web_files.h" FILES index.html ...): a source that
# holds the files' bytes in the table which HEADER declares, so that the command needs no folder
# beside it. The same file, run with cmake -P at build time, writes that source.

if(CMAKE_SCRIPT_MODE_FILE)
  set(content_type_html "text/html; charset=utf-8")
  set(content_type_css "text/css; charset=utf-8")
  set(content_type_js "text/javascript; charset=utf-8")
  set(content_type_svg "image/svg+xml")
  set(arrays "")
  set(rows "")
  set(index 0)
  foreach(file ${FILES})
    get_filename_component(name ${file} NAME)
    string(REGEX REPLACE "^index\\.html$" "" path "${name}")
    get_filename_component(extension ${file} LAST_EXT)
    string(SUBSTRING "${extension}" 1 -1 extension)
    if(NOT DEFINED content_type_${extension})
      message(FATAL_ERROR "${file}: no content type for .${extension}; known are html, css, js, svg")
    endif()
    file(READ ${file} bytes HEX)
    string(LENGTH "${bytes}" length)
    math(EXPR length "${length} / 2")
    string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
    file(SHA256 ${file} hash)
    string(SUBSTRING ${hash} 0 16 hash)
    string(APPEND arrays "constexpr unsigned char kFile${index}[] = {\n${bytes}0};\n")
    string(APPEND rows "    {\"/${path}\", \"${content_type_${extension}}\", \"\\\"${hash}\\\"\", "
      "{reinterpret_cast<const char*>(kFile${index}), ${length}}},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  file(WRITE ${OUTPUT} "// Written by cmake/UpgEmbed.cmake.\n#include \"${HEADER}\"\n\n"
    "namespace upg::server {\nnamespace {\n\n${arrays}\n}  // namespace\n\n"
    "std::span<const WebFile> web_files() noexcept {\n"
    "  static const WebFile kFiles[] = {\n${rows}  };\n  return kFiles;\n}\n\n"
    "}  // namespace upg::server\n")
  return()
endif()

set(UPG_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(upg_embed)
  cmake_parse_arguments(ARG "" "OUTPUT;HEADER" "FILES" ${ARGN})
  list(TRANSFORM ARG_FILES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  add_custom_command(OUTPUT ${ARG_OUTPUT}
    COMMAND ${CMAKE_COMMAND} "-DOUTPUT=${CMAKE_CURRENT_BINARY_DIR}/${ARG_OUTPUT}"
      -DHEADER=${ARG_HEADER} "-DFILES=${ARG_FILES}" -P ${UPG_EMBED_SCRIPT}
    DEPENDS ${ARG_FILES} ${UPG_EMBED_SCRIPT} VERBATIM)
endfunction()
