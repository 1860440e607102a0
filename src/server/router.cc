#include "server/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/web/web_files.h"

namespace upg::server {
namespace {

constexpr std::string_view kPolicy =
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'";

bool path_matches(std::string_view pattern, std::string_view path) {
  const size_t name = pattern.find("{id}");
  if (name == std::string_view::npos) return pattern == path;
  return path.size() > name && path.substr(0, name) == pattern.substr(0, name) &&
         path.find('/', name) == std::string_view::npos;
}

// HEAD asks for what GET would answer.
bool method_matches(std::string_view wanted, std::string_view method) {
  return wanted == method || (wanted == "GET" && method == "HEAD");
}

const RouteRow* find_route(const http::Request& request) {
  for (const RouteRow& row : routes()) {
    if (path_matches(row.path, request.path) && method_matches(row.method, request.method)) {
      return &row;
    }
  }
  return nullptr;
}

// "POST, OPTIONS" of a path; empty when there is no such path.
std::string methods_of(std::string_view path) {
  std::string methods;
  for (const RouteRow& row : routes()) {
    if (path_matches(row.path, path)) methods += fmt::format("{}, ", row.method);
  }
  for (const WebFile& file : web_files()) {
    if (file.path == path) methods += "GET, ";
  }
  return methods.empty() ? methods : methods + "OPTIONS";
}

// Whether If-None-Match, "*" or a list of tags, weak ones or not, has this one (RFC 9110, 13.1.2).
bool names_tag(std::string_view list, std::string_view tag) {
  if (list == "*") return true;
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    std::string_view one = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    while (one.starts_with(' ') || one.starts_with('\t')) one.remove_prefix(1);
    while (one.ends_with(' ') || one.ends_with('\t')) one.remove_suffix(1);
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == tag) return true;
  }
  return false;
}

}  // namespace

// Adds what every answer carries, and tells the log how it went.
class Router::LoggedExchange : public http::Exchange,
                               public std::enable_shared_from_this<LoggedExchange> {
 public:
  LoggedExchange(Router& router, http::ExchangePointer inner)
      : router_(router), inner_(std::move(inner)) {}

  const http::Request& request() const noexcept override { return inner_->request(); }
  void respond(http::Response response) override {
    complete(response);
    inner_->respond(std::move(response));
    note();
  }
  void begin_stream(http::Response head) override {
    complete(head);
    inner_->begin_stream(std::move(head));
  }
  bool send(std::string_view part) override {
    bytes_ += part.size();
    return inner_->send(part);
  }
  void end_stream() override {
    inner_->end_stream();
    note();
  }
  void on_disconnect(std::function<void()> callback) override {
    inner_->on_disconnect([weak = weak_from_this(), callback = std::move(callback)] {
      if (const auto self = weak.lock()) {
        self->left_ = true;
        self->note();
      }
      callback();
    });
  }

  std::string_view route = "none";

 private:
  void complete(http::Response& response) {
    status_ = response.status;
    bytes_ += response.body.size();
    response.headers.emplace_back("X-Content-Type-Options", "nosniff");
    if (router_.origin_allowed(request().origin)) {
      response.headers.emplace_back("Access-Control-Allow-Origin", request().origin);
      response.headers.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
      response.headers.emplace_back("Vary", "Origin");
    }
  }
  void note() {
    if (std::exchange(noted_, true)) return;
    const http::Request& request = inner_->request();
    const std::chrono::duration<double> took = Clock::now() - begin_;
    router_.api_.metrics.http_answer(route, left_ ? 499 : status_);
    const LogLevel level = status_ >= 500 ? LogLevel::kWarning : LogLevel::kInfo;
    router_.api_.log.write(level, "request",
                           {{"id", std::string_view(request.id)},
                            {"peer", std::string_view(request.peer)},
                            {"method", std::string_view(request.method)},
                            {"path", std::string_view(request.path)},
                            {"status", int64_t{left_ ? 499 : status_}},
                            {"seconds", took.count()},
                            {"bytes_in", static_cast<int64_t>(request.body.size())},
                            {"bytes_out", static_cast<int64_t>(bytes_)}});
    if (!router_.api_.options.log_prompts || request.body.empty()) return;
    router_.api_.log.info(
        "body", {{"id", std::string_view(request.id)}, {"text", std::string_view(request.body)}});
  }

  Router& router_;
  http::ExchangePointer inner_;
  Clock::time_point begin_ = Clock::now();
  int status_ = 0;
  size_t bytes_ = 0;
  bool left_ = false;
  bool noted_ = false;
};

bool Router::admits(std::string_view path, std::string_view authorization) const {
  const auto is_public = [&](const RouteRow& row) {
    return row.access == Access::kPublic && path_matches(row.path, path);
  };
  return std::any_of(routes().begin(), routes().end(), is_public) || keys_.allow(authorization);
}

void Router::handle(const http::ExchangePointer& inner) {
  const auto exchange = std::make_shared<LoggedExchange>(*this, inner);
  answer(exchange, exchange->route);
}

void Router::answer(const http::ExchangePointer& exchange, std::string_view& route) {
  const http::Request& request = exchange->request();
  if (request.method == "OPTIONS") return answer_options(exchange);
  const RouteRow* row = find_route(request);
  if (row == nullptr) {
    if (answer_file(exchange)) return;
    const std::string methods = methods_of(request.path);
    if (methods.empty()) {
      // Whoever has no key learns nothing of what there is.
      if (!keys_.allow(request.authorization)) {
        return respond_error(exchange, ApiError(401, "no valid API key", {}, "invalid_api_key"));
      }
      return respond_error(exchange, ApiError(404, "there is nothing at this path"));
    }
    http::Response response =
        error_response(ApiError(405, fmt::format("found the method {}, allowed are {}",
                                                 request.method.substr(0, 32), methods)));
    response.headers.emplace_back("Allow", methods);
    return exchange->respond(std::move(response));
  }
  route = row->path;
  if (row->access != Access::kPublic && is_rebound(request)) {
    return respond_error(exchange,
                         ApiError(403,
                                  "Host: a server for this machine alone is called localhost, "
                                  "or by its address (or --cors-origin names it)"));
  }
  if (row->method != "GET" && is_foreign(request)) {
    return respond_error(exchange,
                         ApiError(403, "this web origin may not use the server (--cors-origin)"));
  }
  if (!allowed(request, *row)) {
    return respond_error(exchange, ApiError(401, "no valid API key", {}, "invalid_api_key"));
  }
  if (draining_) {
    ApiError draining(503, "the server is about to stop");
    draining.retry_after = 5;
    return respond_error(exchange, draining);
  }
  row->handle(api_, exchange);
}

bool Router::allowed(const http::Request& request, const RouteRow& row) const {
  if (row.access == Access::kPublic) return true;
  if (options_.public_metrics && row.handle == metrics_text) return true;
  return keys_.allow(request.authorization);
}

bool Router::answer_file(const http::ExchangePointer& exchange) const {
  const http::Request& request = exchange->request();
  if (request.method != "GET" && request.method != "HEAD") return false;
  for (const WebFile& file : web_files()) {
    if (file.path != request.path) continue;
    http::Response response;
    response.content_type = file.content_type;
    response.headers.emplace_back("ETag", file.etag);
    response.headers.emplace_back("Cache-Control", "no-cache");
    response.headers.emplace_back("Content-Security-Policy", kPolicy);
    response.headers.emplace_back("Referrer-Policy", "no-referrer");
    response.status = names_tag(request.if_none_match, file.etag) ? 304 : 200;
    if (response.status == 200) response.body = file.bytes;
    exchange->respond(std::move(response));
    return true;
  }
  return false;
}

// A browser asks before it sends a request from another page. No key: it does not send one yet.
void Router::answer_options(const http::ExchangePointer& exchange) const {
  const http::Request& request = exchange->request();
  const std::string methods = request.path == "*" ? "GET, POST, OPTIONS" : methods_of(request.path);
  if (methods.empty()) {
    return respond_error(exchange, ApiError(404, "there is nothing at this path"));
  }
  http::Response response;
  response.status = 204;
  response.content_type.clear();
  response.headers.emplace_back("Allow", methods);
  if (origin_allowed(request.origin)) {
    response.headers.emplace_back("Access-Control-Allow-Methods", methods);
    response.headers.emplace_back(
        "Access-Control-Allow-Headers",
        request.wanted_headers.empty() ? "Authorization, Content-Type" : request.wanted_headers);
    response.headers.emplace_back("Access-Control-Max-Age", "86400");
  }
  exchange->respond(std::move(response));
}

// A page of another site cannot read the answers, but could make a browser send requests.
bool Router::is_foreign(const http::Request& request) const {
  if (request.origin.empty() || origin_allowed(request.origin)) return false;
  const size_t scheme = request.origin.find("://");
  return scheme == std::string::npos || request.origin.substr(scheme + 3) != request.host;
}

// A name that somebody made point here reaches a server without keys from any web page; such a page
// is of the same origin as its own requests. So only names that this machine has for itself count.
bool Router::is_rebound(const http::Request& request) const {
  if (!options_.loopback_only || !keys_.open()) return false;
  std::string_view host = request.host;
  if (const size_t colon = host.rfind(':');
      colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos) {
    host = host.substr(0, colon);
  }
  const bool address =
      host.starts_with('[') || host.find_first_not_of("0123456789.") == std::string_view::npos;
  if (host.empty() || address || host == "localhost" || host.ends_with(".localhost")) return false;
  return std::none_of(options_.cors_origins.begin(), options_.cors_origins.end(),
                      [&](const std::string& origin) {
                        return origin == "*" || origin.find(host) != std::string::npos;
                      });
}

bool Router::origin_allowed(std::string_view origin) const {
  return !origin.empty() && std::any_of(options_.cors_origins.begin(), options_.cors_origins.end(),
                                        [&](const std::string& allowed) {
                                          return allowed == "*" || allowed == origin;
                                        });
}

}  // namespace upg::server
