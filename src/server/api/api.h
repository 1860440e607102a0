// What the handlers of routes share.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "server/http/message.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/model_host.h"

namespace upg::server {

struct ApiOptions {
  std::chrono::seconds request_timeout{0};  // 0: none
  bool log_prompts = false;
};

struct Api {
  boost::asio::io_context& loop;
  boost::asio::thread_pool& workers;  // for what would hold up the loop: long texts
  ModelHost& models;
  Metrics& metrics;
  Log& log;
  ApiOptions options;
};

// A row of the table of routes.
enum class Access : uint8_t { kKey, kPublic };
struct RouteRow {
  std::string_view method;
  std::string_view path;  // a last part of {id} matches any name
  Access access;
  std::string_view about;
  void (*handle)(Api& api, const http::ExchangePointer& exchange);
};
std::span<const RouteRow> routes() noexcept;

// ---- handlers, a file a subject
void chat_completions(Api& api, const http::ExchangePointer& exchange);
void completions(Api& api, const http::ExchangePointer& exchange);
void embeddings(Api& api, const http::ExchangePointer& exchange);
void list_models(Api& api, const http::ExchangePointer& exchange);
void one_model(Api& api, const http::ExchangePointer& exchange);
void tokenize(Api& api, const http::ExchangePointer& exchange);
void detokenize(Api& api, const http::ExchangePointer& exchange);
void apply_template(Api& api, const http::ExchangePointer& exchange);
void props(Api& api, const http::ExchangePointer& exchange);
void slots(Api& api, const http::ExchangePointer& exchange);
void health(Api& api, const http::ExchangePointer& exchange);
void metrics_text(Api& api, const http::ExchangePointer& exchange);
void openapi(Api& api, const http::ExchangePointer& exchange);

void respond_json(const http::ExchangePointer& exchange, std::string body);
void respond_error(const http::ExchangePointer& exchange, const ApiError& error);

// The body as JSON. Throws ApiError (400) for another type, or for what is no JSON.
class Body {
 public:
  explicit Body(const http::Request& request);
  const base::Json& root() const noexcept { return document_.root(); }

 private:
  base::JsonDocument document_;
};

// Runs `work` for the model that the body names, on a worker when the body is long, and answers
// with the error that it throws. `work` runs on the loop's thread or a worker's; it returns what is
// left to do on the loop's thread.
using Finish = std::function<void()>;
using ModelWork =
    std::function<Finish(const ServedModelPointer& model, const std::shared_ptr<const Body>& body)>;
void with_model(Api& api, const http::ExchangePointer& exchange, ModelWork work);

}  // namespace upg::server
