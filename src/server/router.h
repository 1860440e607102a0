// From a request to the row of the table that answers it: authorisation, CORS, the page's files,
// and a line in the log for each.
#pragma once

#include <string>
#include <vector>

#include "server/api/api.h"
#include "server/api_keys.h"

namespace upg::server {

struct RouterOptions {
  std::vector<std::string> cors_origins;
  bool public_metrics = false;
  bool loopback_only = false;  // it listens on this machine alone
};

// On the loop's thread.
class Router {
 public:
  Router(Api& api, RouterOptions options) : api_(api), options_(std::move(options)) {}

  void handle(const http::ExchangePointer& exchange);
  // Before the body is read: whether the route and the key are such that it is worth reading.
  bool admits(std::string_view path, std::string_view authorization) const;
  void set_keys(ApiKeys keys) { keys_ = std::move(keys); }
  bool open() const noexcept { return keys_.open(); }
  void drain() noexcept { draining_ = true; }  // new requests are refused

 private:
  class LoggedExchange;
  void answer(const http::ExchangePointer& exchange, std::string_view& route);
  bool answer_file(const http::ExchangePointer& exchange) const;
  void answer_options(const http::ExchangePointer& exchange) const;
  bool allowed(const http::Request& request, const RouteRow& row) const;
  bool is_rebound(const http::Request& request) const;
  bool is_foreign(const http::Request& request) const;
  bool origin_allowed(std::string_view origin) const;

  Api& api_;
  RouterOptions options_;
  ApiKeys keys_;
  bool draining_ = false;
};

}  // namespace upg::server
