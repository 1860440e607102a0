// Errors as OpenAI's clients read them: {"error":{"message","type","param","code"}}.
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "server/generation.h"
#include "server/http/message.h"
#include "upg/error.h"

namespace upg::server {

// What a request gets instead of an answer. Thrown while it is read, caught where it came in.
struct ApiError : std::exception {
  ApiError(int http_status, std::string text, std::string_view parameter = {},
           std::string_view name = {})
      : status(http_status), message(std::move(text)), param(parameter), code(name) {}
  const char* what() const noexcept override { return message.c_str(); }

  int status;
  std::string message;
  std::string param;  // empty: null
  std::string code;   // empty: null
  int retry_after = 0;
};

std::string_view error_type(int status) noexcept;
std::string error_json(const ApiError& error);
http::Response error_response(const ApiError& error);

ApiError queue_full();

// An error of the engine while a request was worked on.
ApiError generation_error(const GenerationResult& result);
// Of a request's own making: what reading or checking it threw.
ApiError request_error(const Error& error, std::string_view param);

}  // namespace upg::server
