#include "server/http/message.h"

#include <algorithm>
#include <array>

namespace upg::server::http {

std::string_view status_text(int status) noexcept {
  constexpr std::array<std::pair<int, std::string_view>, 22> kTexts = {{
      {100, "Continue"},
      {200, "OK"},
      {204, "No Content"},
      {304, "Not Modified"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {413, "Content Too Large"},
      {414, "URI Too Long"},
      {415, "Unsupported Media Type"},
      {417, "Expectation Failed"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
      {505, "HTTP Version Not Supported"},
      {507, "Insufficient Storage"},
  }};
  const auto* row = std::find_if(kTexts.begin(), kTexts.end(),
                                 [status](const auto& text) { return text.first == status; });
  return row == kTexts.end() ? "Unknown" : row->second;
}

}  // namespace upg::server::http
