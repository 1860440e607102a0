#include "server/api/api_error.h"

#include <fmt/format.h>

#include "base/json.h"

namespace upg::server {

std::string_view error_type(int status) noexcept {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "unavailable_error";
    case 504:
      return "timeout_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

std::string error_json(const ApiError& error) {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? std::string("null") : base::json_quote(text);
  };
  return fmt::format(R"({{"error":{{"message":{},"type":"{}","param":{},"code":{}}}}})",
                     base::json_quote(error.message), error_type(error.status),
                     or_null(error.param), or_null(error.code));
}

http::Response error_response(const ApiError& error) {
  http::Response response;
  response.status = error.status;
  response.body = error_json(error);
  if (error.retry_after > 0) {
    response.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  }
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

ApiError queue_full() {
  ApiError full(429, "as many requests as this server takes are waiting", {}, "queue_full");
  full.retry_after = 1;
  return full;
}

ApiError generation_error(const GenerationResult& result) {
  if (result.timed_out) {
    return {504, "the request took longer than this server allows", {}, "timeout"};
  }
  const Error& error = *result.error;
  switch (error.code()) {
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kDevice:
    case ErrorCode::kCancelled:
      return {503, error.what()};
    default:
      return {500, error.what()};
  }
}

ApiError request_error(const Error& error, std::string_view param) {
  switch (error.code()) {
    case ErrorCode::kUsage:
    case ErrorCode::kInvalidData:
      return {400, error.what(), param};
    case ErrorCode::kUnsupported:
      return {501, error.what(), param};
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kDevice:
    case ErrorCode::kCancelled:
      return {503, error.what()};
    case ErrorCode::kIo:
      break;
  }
  return {500, error.what()};
}

}  // namespace upg::server
