#include "server/api/api.h"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/algorithm/string/trim.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "server/api/api_request.h"

namespace upg::server {
namespace {

constexpr size_t kLongBody = size_t{16} << 10;  // bytes that are worked on beside the loop

bool is_json(const std::string& content_type) {
  if (content_type.empty()) return true;
  const std::string type = boost::algorithm::to_lower_copy(
      boost::algorithm::trim_copy(content_type.substr(0, content_type.find(';'))));
  return type == "application/json" || type == "text/json" ||
         (type.starts_with("application/") && type.ends_with("+json"));
}

base::JsonDocument parse(const http::Request& request) {
  if (!is_json(request.content_type)) {
    throw ApiError(400,
                   "Content-Type: found " + request.content_type + ", needed is application/json");
  }
  base::JsonLimits limits;
  limits.max_bytes = request.body.size();
  limits.max_values = size_t{1} << 21;
  try {
    if (request.body.empty()) throw ApiError(400, "the body: found nothing, needed is JSON");
    return {request.body, "the body", limits};
  } catch (const Error& error) {
    throw ApiError(400, error.what());
  }
}

// What `work` throws becomes an answer.
Finish guarded(const http::ExchangePointer& exchange, const std::function<Finish()>& work) {
  const auto answer = [&exchange](const ApiError& error) {
    return [exchange, error] { respond_error(exchange, error); };
  };
  try {
    return work();
  } catch (const ApiError& error) {
    return answer(error);
  } catch (const Error& error) {
    return answer(request_error(error, {}));
  } catch (const std::bad_alloc&) {
    return answer(ApiError(503, "out of memory"));
  }
}

}  // namespace

Body::Body(const http::Request& request) : document_(parse(request)) {}

void respond_json(const http::ExchangePointer& exchange, std::string body) {
  http::Response response;
  response.body = std::move(body);
  exchange->respond(std::move(response));
}

void respond_error(const http::ExchangePointer& exchange, const ApiError& error) {
  exchange->respond(error_response(error));
}

void with_model(Api& api, const http::ExchangePointer& exchange, ModelWork work) {
  const bool is_long = exchange->request().body.size() > kLongBody;
  const auto run = [&api, is_long](std::function<void()> what) {
    is_long ? boost::asio::post(api.workers, std::move(what)) : what();
  };
  const auto finish = [&api, is_long](Finish what) {
    is_long ? boost::asio::post(api.loop, std::move(what)) : what();
  };
  run([&api, exchange, work, run, finish] {
    finish(guarded(exchange, [&]() -> Finish {
      const auto body = std::make_shared<const Body>(exchange->request());
      const std::string name = requested_model(body->root());
      return [&api, exchange, work, run, finish, body, name] {
        api.models.acquire(
            name, [=](const ServedModelPointer& model, std::optional<ApiError> error) {
              if (error) return respond_error(exchange, *error);
              run([=] { finish(guarded(exchange, [&] { return work(model, body); })); });
            });
      };
    }));
  });
}

}  // namespace upg::server
