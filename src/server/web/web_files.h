// The web page's files, as bytes in the program: one row a file of this folder, written into a
// source by cmake/UpgEmbed.cmake.
//
// They say nothing about the model or its users, so they are served without a key: the page itself
// asks for one when the API answers 401. "/" is index.html. They load nothing from elsewhere and
// hold no inline script or style: `Content-Security-Policy: default-src 'self'` fits them.
#pragma once

#include <span>
#include <string_view>

namespace upg::server {

struct WebFile {
  std::string_view path;          // "/", "/app.js": as in a request's target
  std::string_view content_type;  // "text/javascript; charset=utf-8"
  std::string_view etag;          // with its quotes; changes with the bytes
  std::string_view bytes;
};

std::span<const WebFile> web_files() noexcept;

}  // namespace upg::server
