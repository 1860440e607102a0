#include "server/api/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace upg::server {
namespace {

using base::Json;

constexpr size_t kMostMessages = 10000;

[[noreturn]] void refuse(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::kUsage, fmt::format("{}: {}", where, what));
}

std::string read_role(const Json& message, std::string_view where) {
  constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant",
                                                      "tool"};
  const std::string place = fmt::format("{}.role", where);
  const Json* value = message.find("role");
  if (value == nullptr) refuse(place, "found none");
  const std::string_view role = value->as_string(place);
  if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
    refuse(place, fmt::format("found {}, allowed are system, developer, user, assistant and tool",
                              base::printable(role)));
  }
  return std::string(role == "developer" ? "system" : role);  // its newer name
}

// Text, or a list of parts that are text.
std::string read_content(const Json& value, std::string_view where) {
  if (value.is_string()) return std::string(value.as_string(where));
  std::string text;
  const auto parts = value.as_array(where);
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string place = fmt::format("{}[{}]", where, i);
    parts[i].as_object(place);
    const Json* type = parts[i].find("type");
    const std::string_view kind =
        type == nullptr ? "" : type->as_string(fmt::format("{}.type", place));
    if (kind != "text") {
      refuse(place, fmt::format("found a part of type {}, this model takes text alone",
                                base::printable(kind)));
    }
    const Json* part = parts[i].find("text");
    if (part == nullptr) refuse(place, "found no text");
    text += part->as_string(fmt::format("{}.text", place));
  }
  return text;
}

// [{"id", "type": "function", "function": {"name", "arguments": "JSON text"}}]
std::vector<ToolCall> read_calls(const Json& list, std::string_view where) {
  std::vector<ToolCall> calls;
  const auto items = list.as_array(where);
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string place = fmt::format("{}[{}]", where, i);
    items[i].as_object(place);
    const Json* function = items[i].find("function");
    if (function == nullptr) refuse(place, "found no function");
    const Json* id = items[i].find("id");
    const Json* name = function->find("name");
    const Json* arguments = function->find("arguments");
    if (name == nullptr) refuse(fmt::format("{}.function.name", place), "found none");
    ToolCall& call = calls.emplace_back();
    if (id != nullptr && !id->is_null()) call.id = id->as_string(fmt::format("{}.id", place));
    call.name = name->as_string(fmt::format("{}.function.name", place));
    call.arguments =
        arguments == nullptr || arguments->is_null()
            ? "{}"
            : std::string(arguments->as_string(fmt::format("{}.function.arguments", place)));
  }
  return calls;
}

ChatMessage read_message(const Json& message, std::string_view where) {
  message.as_object(where);
  ChatMessage result;
  result.role = read_role(message, where);
  const Json* content = message.find("content");
  const Json* calls = message.find("tool_calls");
  const bool has_calls = calls != nullptr && !calls->is_null();
  if (content != nullptr && !content->is_null()) {
    result.content = read_content(*content, fmt::format("{}.content", where));
  } else if (result.role != "assistant" || !has_calls) {
    refuse(fmt::format("{}.content", where), "found none");
  }
  if (has_calls) result.tool_calls = read_calls(*calls, fmt::format("{}.tool_calls", where));
  const Json* call_id = message.find("tool_call_id");
  if (call_id != nullptr && !call_id->is_null()) {
    result.tool_call_id = call_id->as_string(fmt::format("{}.tool_call_id", where));
  }
  return result;
}

}  // namespace

std::vector<ChatMessage> read_messages(const Json& list, std::string_view where) {
  const auto items = list.as_array(where);
  if (items.size() > kMostMessages) {
    refuse(where, fmt::format("found {} messages, allowed are {}", items.size(), kMostMessages));
  }
  std::vector<ChatMessage> messages;
  for (size_t i = 0; i < items.size(); ++i) {
    messages.push_back(read_message(items[i], fmt::format("{}[{}]", where, i)));
  }
  return messages;
}

void check_tool(const Json& tool, std::string_view where) {
  tool.as_object(where);
  const Json* type = tool.find("type");
  if (type == nullptr || type->as_string(fmt::format("{}.type", where)) != "function") {
    refuse(fmt::format("{}.type", where), "allowed is function");
  }
  const Json* function = tool.find("function");
  if (function == nullptr) refuse(where, "found no function");
  function->as_object(fmt::format("{}.function", where));
  const Json* name = function->find("name");
  if (name == nullptr || name->as_string(fmt::format("{}.function.name", where)).empty()) {
    refuse(fmt::format("{}.function.name", where), "found none");
  }
  const Json* parameters = function->find("parameters");
  if (parameters != nullptr && !parameters->is_null()) {
    parameters->as_object(fmt::format("{}.function.parameters", where));
  }
}

}  // namespace upg::server
