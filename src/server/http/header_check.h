// What a request's header must be like before anything is done for it (RFC 9110, RFC 9112).
#pragma once

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/connection.h"

namespace upg::server::http {

struct Refusal {
  int status;
  std::string what;
};

using HeaderFields = boost::beast::http::request_header<boost::beast::http::fields>;

// Nothing, or why the request is refused.
std::optional<Refusal> check_request_header(const HeaderFields& header, const Limits& limits);

// Path and query of a target that passed the check: origin form, absolute form, or "*".
struct Target {
  std::string path;
  std::string query;
};
Target split_target(std::string_view target);

}  // namespace upg::server::http
