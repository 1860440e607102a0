#include "server/api/tools.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json_text.h"
#include "base/text.h"
#include "server/api/api_error.h"
#include "tokenizer/chat_template.h"

namespace upg::server {
namespace {

const tokenizer::ToolFormat& format_of(const LanguageModel& model) {
  const auto* row = tokenizer::template_by_name(model.info().chat_template);
  return tokenizer::tool_format(row != nullptr ? row->tool_format : "hermes");
}

std::string_view name_of(const base::Json& tool) {
  return tool.find("function")->find("name")->as_string("tools");
}

std::shared_ptr<const constrain::Grammar> forced_grammar(const ApiRequest& request,
                                                         const ToolUse& use) {
  const auto list = request.tools->as_array("tools");
  std::vector<std::string> places;
  places.reserve(list.size());
  std::vector<constrain::Tool> tools;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string_view name = name_of(list[i]);
    if (request.tool_choice == ToolChoice::kNamed && name != request.tool_name) continue;
    places.push_back(fmt::format("tools[{}].function.parameters", i));
    const base::Json* parameters = list[i].find("function")->find("parameters");
    if (parameters != nullptr && parameters->is_null()) parameters = nullptr;
    tools.push_back({name, parameters, places.back()});
  }
  const tokenizer::ToolFormat& format = *use.format;
  constrain::ToolCallText text;
  text.before_name = format.before_name;
  text.before_arguments = format.before_arguments;
  text.after = format.after;
  text.open = format.list_open;
  text.separator = format.separator;
  text.close = format.list_close;
  text.max_calls = use.parallel ? format.max_calls : 1;
  try {
    return constrain::Grammar::tool_calls(tools, text);
  } catch (const Error& error) {
    throw ApiError(400, error.what(), "tools");
  }
}

}  // namespace

std::shared_ptr<const ToolUse> tool_use(const ApiRequest& request, const LanguageModel& model) {
  if (request.tools == nullptr || request.tool_choice == ToolChoice::kNone) return nullptr;
  auto use = std::make_shared<ToolUse>();
  use->format = &format_of(model);
  use->json = base::json_text(*request.tools);
  use->parallel = request.parallel_tool_calls;
  for (const base::Json& tool : request.tools->as_array("tools")) {
    use->names.emplace_back(name_of(tool));
  }
  if (request.tool_choice == ToolChoice::kAuto) return use;
  const auto& names = use->names;
  if (request.tool_choice == ToolChoice::kNamed &&
      std::find(names.begin(), names.end(), request.tool_name) == names.end()) {
    throw ApiError(
        400, fmt::format("tool_choice: there is no tool {}", base::printable(request.tool_name)),
        "tool_choice");
  }
  use->forced = true;
  use->grammar = forced_grammar(request, *use);
  return use;
}

std::string tool_calls_json(const std::vector<CollectedCall>& calls) {
  std::string json = "[";
  for (const CollectedCall& call : calls) {
    json +=
        fmt::format(R"({}{{"id":"{}","type":"function","function":{{"name":{},"arguments":{}}}}})",
                    json.size() > 1 ? "," : "", call.id, base::json_quote(call.name),
                    base::json_quote(call.arguments));
  }
  return json + "]";
}

std::string call_begin_delta(int index, const CollectedCall& call) {
  return fmt::format(R"("tool_calls":[{{"index":{},"id":"{}","type":"function","function":)"
                     R"({{"name":{},"arguments":""}}}}])",
                     index, call.id, base::json_quote(call.name));
}

std::string call_arguments_delta(int index, std::string_view piece) {
  return fmt::format(R"("tool_calls":[{{"index":{},"function":{{"arguments":{}}}}}])", index,
                     base::json_quote(piece));
}

}  // namespace upg::server
