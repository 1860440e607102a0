#include "server/http/header_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <iterator>

namespace upg::server::http {
namespace {

namespace beast_http = boost::beast::http;
using beast_http::field;

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

std::optional<Refusal> refuse(int status, std::string what) {
  return Refusal{status, std::move(what)};
}

bool is_visible(char c) { return c > 0x20 && c < 0x7f; }

// host[:port], as much as matters: no character that ends an authority.
bool is_authority(std::string_view host) {
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return is_visible(c) && std::string_view("/?#@\\,").find(c) == std::string_view::npos;
  });
}

std::optional<Refusal> check_target(const HeaderFields& header, const Limits& limits) {
  const std::string_view target = view(header.target());
  if (target.size() > limits.target_bytes) {
    return refuse(414, fmt::format("the request target has {} bytes, allowed are {}", target.size(),
                                   limits.target_bytes));
  }
  if (!std::all_of(target.begin(), target.end(), is_visible) || target.find('#') != target.npos) {
    return refuse(400, "the request target has characters that no target may have");
  }
  const bool options = header.method() == beast_http::verb::options;
  const bool known = target.starts_with('/') || target.starts_with("http://") ||
                     target.starts_with("https://") || (options && target == "*");
  if (!known) return refuse(400, "the request target is neither a path nor an absolute address");
  return {};
}

std::optional<Refusal> check_host(const HeaderFields& header) {
  const auto count = header.count(field::host);
  if (count > 1) return refuse(400, "more than one Host");
  if (count == 0) {
    return header.version() >= 11 ? refuse(400, "no Host") : std::optional<Refusal>();
  }
  const std::string_view host = view(header[field::host]);
  // An empty one is legal where the target has no authority of its own.
  if (!host.empty() && !is_authority(host)) return refuse(400, "Host is no host");
  return {};
}

std::optional<Refusal> check_framing(const HeaderFields& header) {
  const auto lengths = header.count(field::content_length);
  const auto codings = header.count(field::transfer_encoding);
  if (lengths > 1) return refuse(400, "more than one Content-Length");
  if (lengths == 1) {
    const std::string_view length = view(header[field::content_length]);
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (length.empty() || !std::all_of(length.begin(), length.end(), is_digit)) {
      return refuse(400, "Content-Length is no number");
    }
  }
  if (codings == 0) return {};
  if (lengths > 0) return refuse(400, "Content-Length and Transfer-Encoding together");
  if (codings > 1 || header.version() < 11) return refuse(400, "Transfer-Encoding out of place");
  if (!boost::beast::iequals(header[field::transfer_encoding], "chunked")) {
    return refuse(501, "Transfer-Encoding: only chunked is known here");
  }
  return {};
}

std::optional<Refusal> check_rest(const HeaderFields& header, const Limits& limits) {
  const auto fields = std::distance(header.begin(), header.end());
  if (fields > limits.header_fields) {
    return refuse(431,
                  fmt::format("{} header fields, allowed are {}", fields, limits.header_fields));
  }
  const boost::beast::string_view coding = header[field::content_encoding];
  if (!coding.empty() && !boost::beast::iequals(coding, "identity")) {
    return refuse(415, "Content-Encoding: a body is taken as it is, not encoded");
  }
  const boost::beast::string_view expect = header[field::expect];
  if (!expect.empty() && !boost::beast::iequals(expect, "100-continue")) {
    return refuse(417, "Expect: only 100-continue is known here");
  }
  for (const auto& one : header) {
    const std::string_view value = view(one.value());
    const bool control = std::any_of(value.begin(), value.end(), [](char c) {
      return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
    });
    if (control) return refuse(400, "a header field with control characters");
  }
  return {};
}

}  // namespace

std::optional<Refusal> check_request_header(const HeaderFields& header, const Limits& limits) {
  if (auto refusal = check_target(header, limits)) return refusal;
  if (auto refusal = check_host(header)) return refusal;
  if (auto refusal = check_framing(header)) return refusal;
  return check_rest(header, limits);
}

Target split_target(std::string_view target) {
  if (const size_t scheme = target.find("://");
      scheme != std::string_view::npos && !target.starts_with('/')) {
    const size_t path = target.find_first_of("/?", scheme + 3);
    target = path == std::string_view::npos ? "/" : target.substr(path);
    if (!target.starts_with('/')) return {"/", std::string(target.substr(1))};
  }
  const size_t end = target.find('?');
  Target result;
  result.path = target.substr(0, end);
  if (end != std::string_view::npos) result.query = target.substr(end + 1);
  return result;
}

}  // namespace upg::server::http
