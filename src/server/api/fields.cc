// The table of request fields. The parser, the OpenAPI file and docs/server.md follow it.
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "server/api/api_error.h"
#include "server/api/api_request.h"
#include "server/api/messages.h"

namespace upg::server {
namespace {

using base::Json;

constexpr unsigned kChat = static_cast<unsigned>(Route::kChat);
constexpr unsigned kText = static_cast<unsigned>(Route::kCompletion);
constexpr unsigned kEmbed = static_cast<unsigned>(Route::kEmbedding);
constexpr unsigned kWrite = kChat | kText;

constexpr int kMostChoices = 64;
constexpr size_t kMostStops = 64;
constexpr size_t kMostStopBytes = 1024;
constexpr size_t kMostBiases = 4096;
constexpr int kMostTopLogprobs = 20;

// In [low, high]; written so that NaN fails.
float number(const Json& value, std::string_view where, double low, double high) {
  const double found = value.as_number(where);
  if (!(found >= low && found <= high)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: found {}, allowed {} to {}", where, found, low, high));
  }
  return static_cast<float>(found);
}

int integer(const Json& value, std::string_view where, int64_t low, int64_t high) {
  return static_cast<int>(value.as_integer(where, low, high));
}

template <float SamplingOptions::*member, int low, int high>
void read_number(ApiRequest& request, const Json& value, std::string_view where) {
  request.generation.options.sampling.*member = number(value, where, low, high);
}

void read_stop(ApiRequest& request, const Json& value, std::string_view where) {
  std::vector<std::string>& stop = request.generation.options.stop;
  const auto add = [&](const Json& one) {
    const std::string_view text = one.as_string(where);
    if (text.size() > kMostStopBytes) {
      throw Error(ErrorCode::kUsage, fmt::format("{}: found a string of {} bytes, allowed are {}",
                                                 where, text.size(), kMostStopBytes));
    }
    if (!text.empty()) stop.emplace_back(text);
  };
  if (value.is_string()) return add(value);
  const auto items = value.as_array(where);
  if (items.size() > kMostStops) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: found {} strings, allowed are {}", where,
                                               items.size(), kMostStops));
  }
  for (const Json& one : items) add(one);
}

void read_logit_bias(ApiRequest& request, const Json& value, std::string_view where) {
  const auto members = value.as_object(where);
  if (members.size() > kMostBiases) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: found {} entries, allowed are {}", where,
                                               members.size(), kMostBiases));
  }
  for (const Json::Member& member : members) {
    int32_t id = 0;
    const char* end = member.key.data() + member.key.size();
    const auto [rest, error] = std::from_chars(member.key.data(), end, id);
    if (error != std::errc() || rest != end || id < 0) {
      throw Error(ErrorCode::kUsage, fmt::format("{}: found the key {}, allowed are token ids",
                                                 where, base::printable(member.key)));
    }
    const float bias = number(member.value, fmt::format("{}.{}", where, id), -100, 100);
    request.generation.options.sampling.logit_bias.emplace_back(id, bias);
  }
}

void read_seed(ApiRequest& request, const Json& value, std::string_view where) {
  request.generation.options.sampling.seed =
      static_cast<uint64_t>(value.as_integer(where, INT64_MIN, INT64_MAX));
  request.seeded = true;
}

void read_max_tokens(ApiRequest& request, const Json& value, std::string_view where) {
  request.generation.options.max_tokens = integer(value, where, -1, INT32_MAX);
}

void read_stream_options(ApiRequest& request, const Json& value, std::string_view where) {
  value.as_object(where);
  if (const Json* usage = value.find("include_usage"); usage != nullptr && !usage->is_null()) {
    request.include_usage = usage->as_bool(fmt::format("{}.include_usage", where));
  }
}

// Chat: a switch. Completions: how many others beside the token's own.
void read_logprobs(ApiRequest& request, const Json& value, std::string_view where) {
  if (request.route == Route::kChat) {
    request.logprobs = value.as_bool(where);
    return;
  }
  request.logprobs = true;
  request.generation.top_logprobs = integer(value, where, 0, kMostTopLogprobs);
}

void read_top_logprobs(ApiRequest& request, const Json& value, std::string_view where) {
  request.generation.top_logprobs = integer(value, where, 0, kMostTopLogprobs);
}

// {"type":"json_schema","json_schema":{"schema":...}}, and the schema one level up as llama.cpp's
// clients send it.
void read_response_format(ApiRequest& request, const Json& value, std::string_view where) {
  value.as_object(where);
  const Json* type = value.find("type");
  const std::string_view name =
      type == nullptr ? "" : type->as_string(fmt::format("{}.type", where));
  if (name == "text") return;
  const Json* nested = value.find("json_schema");
  const Json* schema = nested != nullptr ? nested->find("schema") : value.find("schema");
  if (name == "json_object" && schema == nullptr) {
    request.format = ResponseFormat::kJsonObject;
  } else if (name == "json_schema" || name == "json_object") {
    if (schema == nullptr || !schema->is_object()) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("{}.json_schema.schema: found no object, needed is a schema", where));
    }
    request.format = ResponseFormat::kJsonSchema;
    request.schema = schema;
  } else {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}.type: found {}, allowed are text, json_object and json_schema",
                            where, base::printable(name)));
  }
}

void read_token_ids(std::vector<int32_t>& ids, const Json& list, std::string_view where) {
  for (const Json& id : list.as_array(where)) ids.push_back(integer(id, where, 0, INT32_MAX));
}

// A string, a list of strings, a list of ids, or a list of such lists.
void read_prompt(ApiRequest& request, const Json& value, std::string_view where) {
  constexpr size_t kMostPrompts = 2048;
  if (value.is_string()) {
    request.prompts.emplace_back(std::string(value.as_string(where)));
    return;
  }
  const auto items = value.as_array(where);
  if (!items.empty() && items.front().is_integer()) {
    read_token_ids(std::get<1>(request.prompts.emplace_back(std::vector<int32_t>())), value, where);
    return;
  }
  if (items.empty() || items.size() > kMostPrompts) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: found {} prompts, allowed 1 to {}", where,
                                               items.size(), kMostPrompts));
  }
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string place = fmt::format("{}[{}]", where, i);
    if (items[i].is_array()) {
      read_token_ids(std::get<1>(request.prompts.emplace_back(std::vector<int32_t>())), items[i],
                     place);
    } else {
      request.prompts.emplace_back(std::string(items[i].as_string(place)));
    }
  }
}

void read_encoding(ApiRequest& request, const Json& value, std::string_view where) {
  const std::string_view name = value.as_string(where);
  if (name != "float" && name != "base64") {
    throw Error(ErrorCode::kUsage, fmt::format("{}: found {}, allowed are float and base64", where,
                                               base::printable(name)));
  }
  request.base64 = name == "base64";
}

void read_tools(ApiRequest& request, const Json& value, std::string_view where) {
  constexpr size_t kMostTools = 128;
  const auto tools = value.as_array(where);
  if (tools.size() > kMostTools) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: found {} tools, allowed are {}", where, tools.size(), kMostTools));
  }
  for (size_t i = 0; i < tools.size(); ++i) check_tool(tools[i], fmt::format("{}[{}]", where, i));
  if (!tools.empty()) request.tools = &value;
}

void read_tool_choice(ApiRequest& request, const Json& value, std::string_view where) {
  if (value.is_string()) {
    const std::string_view name = value.as_string(where);
    if (name == "auto")
      request.tool_choice = ToolChoice::kAuto;
    else if (name == "none")
      request.tool_choice = ToolChoice::kNone;
    else if (name == "required")
      request.tool_choice = ToolChoice::kRequired;
    else
      throw Error(ErrorCode::kUsage,
                  fmt::format("{}: found {}, allowed are auto, none, required and one function",
                              where, base::printable(name)));
    return;
  }
  const Json* function = value.find("function");
  const Json* name = function != nullptr ? function->find("name") : nullptr;
  if (name == nullptr) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: found no function.name", where));
  }
  request.tool_choice = ToolChoice::kNamed;
  request.tool_name = name->as_string(fmt::format("{}.function.name", where));
}

void read_best_of(ApiRequest& request, const Json& value, std::string_view where) {
  request.best_of = integer(value, where, 1, kMostChoices);
}

// What would change the answer and is not built is refused, by name.
void refuse_suffix(ApiRequest&, const Json& value, std::string_view where) {
  if (value.is_string() && value.as_string(where).empty()) return;
  throw Error(ErrorCode::kUsage, fmt::format("{}: no model here fills in the middle", where));
}

void refuse_grammar(ApiRequest&, const Json&, std::string_view where) {
  throw Error(ErrorCode::kUsage,
              fmt::format("{}: not supported; response_format with a JSON schema is", where));
}

constexpr std::string_view kBool = R"({"type":"boolean"})";
constexpr std::string_view kMessages =
    R"({"type":"array","minItems":1,"items":{"type":"object","required":["role","content"],)"
    R"("properties":{"role":{"enum":["system","developer","user","assistant","tool"]},)"
    R"("content":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"object",)"
    R"("required":["type","text"],"properties":{"type":{"const":"text"},)"
    R"("text":{"type":"string"}}}},{"type":"null"}]}}}})";
constexpr std::string_view kBias =
    R"({"type":"object","propertyNames":{"pattern":"^[0-9]{1,9}$"},)"
    R"("additionalProperties":{"type":"number","minimum":-100,"maximum":100}})";
constexpr std::string_view kFormat =
    R"({"anyOf":[{"type":"object","required":["type"],)"
    R"("properties":{"type":{"enum":["text","json_object"]}}},)"
    R"({"type":"object","required":["type","json_schema"],"properties":{)"
    R"("type":{"const":"json_schema"},"json_schema":{"type":"object","required":["schema"],)"
    R"("properties":{"schema":{"type":"object"}}}}}]})";
constexpr std::string_view kTools =
    R"({"type":"array","maxItems":128,"items":{"type":"object","required":["type","function"],)"
    R"("properties":{"type":{"const":"function"},"function":{"type":"object",)"
    R"("required":["name"],"properties":{"name":{"type":"string","minLength":1},)"
    R"("description":{"type":"string"},"parameters":{"type":"object"}}}}}})";
constexpr std::string_view kPrompt =
    R"({"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"},"minItems":1},)"
    R"({"type":"array","items":{"type":"integer","minimum":0},"minItems":1}]})";

// clang-format off
constexpr Field kFields[] = {
    {"model", kChat | kText | kEmbed, R"({"type":"string"})",
     "Which model; with one model loaded any name will do",
     [](ApiRequest& r, const Json& v, std::string_view w) { r.model = v.as_string(w); }},
    {"messages", kChat, kMessages,
     "The conversation: role (system, developer, user, assistant, tool) and content (text or parts of type text)",
     [](ApiRequest& r, const Json& v, std::string_view w) { r.messages = read_messages(v, w); }},
    {"prompt", kText, kPrompt, "The text to continue, as it stands: text, token ids, or a list of either",
     read_prompt},
    {"input", kEmbed, kPrompt, "What to embed: text, token ids, or a list of either", read_prompt},
    {"encoding_format", kEmbed, R"({"enum":["float","base64"]})", "base64: little-endian float32",
     read_encoding},
    {"dimensions", kEmbed, R"({"type":"integer","minimum":1})",
     "The first so many dimensions, normalised again",
     [](ApiRequest& r, const Json& v, std::string_view w) { r.dimensions = integer(v, w, 1, 1 << 20); }},
    {"max_completion_tokens", kWrite, R"({"type":"integer","minimum":0})",
     "Tokens to write at most", read_max_tokens},
    {"max_tokens", kWrite, R"({"type":"integer","minimum":-1})",
     "The same; -1: to the end of text or context", read_max_tokens},
    {"temperature", kWrite, R"({"type":"number","minimum":0,"maximum":2})", "0: always the likeliest token",
     read_number<&SamplingOptions::temperature, 0, 2>},
    {"top_k", kWrite, R"({"type":"integer","minimum":-1})", "Only the k likeliest; 0 or -1: off",
     [](ApiRequest& r, const Json& v, std::string_view w) {
       r.generation.options.sampling.top_k = std::max(0, integer(v, w, -1, INT32_MAX));
     }},
    {"top_p", kWrite, R"({"type":"number","minimum":0,"maximum":1})",
     "Only the likeliest that together reach p", read_number<&SamplingOptions::top_p, 0, 1>},
    {"min_p", kWrite, R"({"type":"number","minimum":0,"maximum":1})",
     "Only those at least p times as likely as the likeliest", read_number<&SamplingOptions::min_p, 0, 1>},
    {"presence_penalty", kWrite, R"({"type":"number","minimum":-2,"maximum":2})",
     "Taken off once from tokens that occurred", read_number<&SamplingOptions::presence_penalty, -2, 2>},
    {"frequency_penalty", kWrite, R"({"type":"number","minimum":-2,"maximum":2})",
     "Taken off for each occurrence", read_number<&SamplingOptions::frequency_penalty, -2, 2>},
    {"repeat_penalty", kWrite, R"({"type":"number","exclusiveMinimum":0,"maximum":10})",
     "Divides what occurred lately; 1: off",
     [](ApiRequest& r, const Json& v, std::string_view w) {
       r.generation.options.sampling.repeat_penalty = number(v, w, 1e-3, 10);
     }},
    {"repetition_penalty", kWrite, R"({"type":"number","exclusiveMinimum":0,"maximum":10})",
     "The same under vLLM's name",
     [](ApiRequest& r, const Json& v, std::string_view w) {
       r.generation.options.sampling.repeat_penalty = number(v, w, 1e-3, 10);
     }},
    {"repeat_last_n", kWrite, R"({"type":"integer","minimum":-1})",
     "How far the repeat penalty looks back; -1: all",
     [](ApiRequest& r, const Json& v, std::string_view w) {
       r.generation.options.sampling.repeat_last_n = integer(v, w, -1, INT32_MAX);
     }},
    {"seed", kWrite, R"({"type":"integer"})", "Same seed, same text", read_seed},
    {"stop", kWrite,
     R"({"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"},"maxItems":64}]})",
     "The answer ends before any of these", read_stop},
    {"ignore_eos", kWrite, kBool, "Go on after the end of text",
     [](ApiRequest& r, const Json& v, std::string_view w) {
       r.generation.options.ignore_end_of_text = v.as_bool(w);
     }},
    {"logit_bias", kWrite, kBias, "Token id to what is added to its logit, -100 to 100",
     read_logit_bias},
    {"n", kWrite, R"({"type":"integer","minimum":1,"maximum":64})",
     "Answers; their seeds are seed, seed + 1, ...",
     [](ApiRequest& r, const Json& v, std::string_view w) { r.choices = integer(v, w, 1, kMostChoices); }},
    {"best_of", kText, R"({"type":"integer","minimum":1,"maximum":64})", "Only equal to n", read_best_of},
    {"stream", kWrite, kBool, "Server-sent events, token by token",
     [](ApiRequest& r, const Json& v, std::string_view w) { r.stream = v.as_bool(w); }},
    {"stream_options", kWrite, R"({"type":"object","properties":{"include_usage":{"type":"boolean"}}})", "include_usage: a last chunk with the usage",
     read_stream_options},
    {"logprobs", kChat, kBool, "Of each token, from the raw softmax, before the samplers", read_logprobs},
    {"logprobs", kText, R"({"type":"integer","minimum":0,"maximum":20})",
     "The same, with so many others beside each token", read_logprobs},
    {"top_logprobs", kChat, R"({"type":"integer","minimum":0,"maximum":20})",
     "How many others beside each token", read_top_logprobs},
    {"echo", kText, kBool, "The prompt before the answer",
     [](ApiRequest& r, const Json& v, std::string_view w) { r.echo = v.as_bool(w); }},
    {"response_format", kWrite, kFormat,
     "text, json_object, or json_schema: the answer is held to it", read_response_format},
    {"tools", kChat, kTools, "Functions the model may call", read_tools},
    {"tool_choice", kChat, R"({"anyOf":[{"enum":["auto","none","required"]},{"type":"object"}]})",
     "auto, none, required, or one function", read_tool_choice},
    {"parallel_tool_calls", kChat, kBool, "More than one call an answer",
     [](ApiRequest& r, const Json& v, std::string_view w) { r.parallel_tool_calls = v.as_bool(w); }},
    {"suffix", kText, R"({"type":"string","maxLength":0})", "Not supported", refuse_suffix},
    {"grammar", kWrite, R"({"type":"null"})", "Not supported", refuse_grammar},
};
// clang-format on

void check_together(const ApiRequest& request) {
  if (request.route == Route::kChat) {
    if (request.messages.empty()) throw ApiError(400, "messages: found none", "messages");
    if (request.generation.top_logprobs >= 0 && !request.logprobs) {
      throw ApiError(400, "top_logprobs: only beside logprobs: true", "top_logprobs");
    }
    const bool forced =
        request.tool_choice == ToolChoice::kRequired || request.tool_choice == ToolChoice::kNamed;
    if (forced && request.tools == nullptr) {
      throw ApiError(400, "tool_choice: a call is required, and there are no tools", "tool_choice");
    }
    if (forced && request.format != ResponseFormat::kText) {
      throw ApiError(400, "response_format: not together with a required tool call",
                     "response_format");
    }
  } else if (request.prompts.empty()) {
    const std::string_view name = request.route == Route::kCompletion ? "prompt" : "input";
    throw ApiError(400, fmt::format("{}: found none", name), name);
  }
  constexpr size_t kMostAnswers = 2048;
  const size_t answers = request.prompts.size() * static_cast<size_t>(request.choices);
  if (answers > kMostAnswers) {
    throw ApiError(400,
                   fmt::format("n: {} prompts with {} answers each, allowed are {} answers",
                               request.prompts.size(), request.choices, kMostAnswers),
                   "n");
  }
  if (request.best_of != 0 && request.best_of != request.choices) {
    throw ApiError(400, "best_of: only equal to n", "best_of");
  }
}

}  // namespace

std::span<const Field> request_fields() noexcept { return kFields; }

std::string requested_model(const Json& body) {
  if (!body.is_object()) {
    throw ApiError(400, fmt::format("the body: found {}, needed is an object", body.describe()));
  }
  const Json* model = body.find("model");
  if (model == nullptr || model->is_null()) return {};
  if (!model->is_string()) throw ApiError(400, "model: found no string", "model");
  return std::string(model->as_string("model"));
}

ApiRequest read_request(Route route, const Json& body, const SamplingOptions& defaults) {
  ApiRequest request;
  request.route = route;
  request.generation.options.sampling = defaults;
  for (const Field& field : kFields) {
    if ((field.routes & static_cast<unsigned>(route)) == 0) continue;
    const Json* value = body.find(field.name);
    if (value == nullptr || value->is_null()) continue;
    try {
      field.read(request, *value, field.name);
    } catch (const Error& error) {
      throw ApiError(400, error.what(), field.name);
    }
  }
  check_together(request);
  if (request.logprobs && request.generation.top_logprobs < 0) request.generation.top_logprobs = 0;
  request.generation.prompt_logprobs = request.echo && request.logprobs;
  request.generation.embedding = route == Route::kEmbedding;
  return request;
}

}  // namespace upg::server
