// Parts of a target that a client has encoded (RFC 3986, sections 2.1 and 3.4).
#pragma once

#include <string>
#include <string_view>

namespace upg::server::http {

// "%41" becomes "A"; a '%' that no two hexadecimal digits follow stays as it is.
std::string percent_decode(std::string_view text);

// The decoded value of the first `name=value` of a query; empty when there is none.
std::string query_value(std::string_view query, std::string_view name);

}  // namespace upg::server::http
