// A request for text or embeddings, read from JSON: what was asked, before any model is looked at.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "server/generation.h"
#include "upg/engine.h"

namespace upg::server {

struct ToolUse;

enum class Route : uint8_t { kChat = 1, kCompletion = 2, kEmbedding = 4 };

enum class ResponseFormat : uint8_t { kText, kJsonObject, kJsonSchema };
enum class ToolChoice : uint8_t { kAuto, kNone, kRequired, kNamed };

using PromptInput = std::variant<std::string, std::vector<int32_t>>;

struct ApiRequest {
  Route route = Route::kChat;
  std::string model;  // empty: not said
  std::vector<ChatMessage> messages;
  std::vector<PromptInput> prompts;  // completions and embeddings
  GenerationRequest generation;      // all but the prompt
  int choices = 1;
  int best_of = 0;
  bool seeded = false;  // it names a seed
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  bool echo = false;
  bool base64 = false;
  int dimensions = 0;

  // Point into the document of the request.
  ResponseFormat format = ResponseFormat::kText;
  const base::Json* schema = nullptr;
  const base::Json* tools = nullptr;  // an array, or null
  ToolChoice tool_choice = ToolChoice::kAuto;
  std::string tool_name;
  bool parallel_tool_calls = true;

  std::shared_ptr<const ToolUse> tool_use = {};  // tools.h: once the model is known
};

// A row of the table of fields: what is read, checked, and written into the OpenAPI file.
struct Field {
  std::string_view name;
  unsigned routes;          // Route bits
  std::string_view schema;  // JSON Schema of its value
  std::string_view about;
  void (*read)(ApiRequest& request, const base::Json& value, std::string_view where);
};
std::span<const Field> request_fields() noexcept;

// The `model` of a request, empty when it says none. Throws ApiError when it is no string.
std::string requested_model(const base::Json& body);

// Reads every field of the route that the table knows; others are ignored, and so is null. The
// request's sampling starts from `defaults`. body must outlive the request. Throws ApiError (400)
// naming the field.
ApiRequest read_request(Route route, const base::Json& body, const SamplingOptions& defaults);

}  // namespace upg::server
