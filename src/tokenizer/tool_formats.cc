#include "tokenizer/tool_formats.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/json_text.h"
#include "base/text.h"
#include "upg/error.h"

namespace upg::tokenizer {
namespace {

[[noreturn]] void refuse(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::kUsage, fmt::format("{}: {}", where, what));
}

// {"name": NAME, KEY: ARGUMENTS}, the arguments as they were written.
std::string call_text(const ToolCall& call, std::string_view key) {
  const bool empty = call.arguments.find_first_not_of(" \t\r\n") == std::string::npos;
  return fmt::format("{{\"name\": {}, \"{}\": {}}}", base::json_quote(call.name), key,
                     empty ? "{}" : call.arguments);
}

// The system turn with something behind it, made of `standard` where there is none.
void append_to_system(std::vector<Message>& turns, std::string_view standard,
                      std::string_view separator, std::string_view text) {
  if (turns.empty() || turns.front().role != "system") {
    turns.insert(turns.begin(), Message{"system", std::string(standard)});
  }
  std::string& system = turns.front().content;
  if (!system.empty()) system += separator;
  system += text;
}

// ---- Phi-4-mini: the template's own place for tools; calls and results by the tokens that are
// made for them.

std::vector<Message> phi4_mini_turns(const ToolConversation& conversation) {
  std::vector<Message> turns;
  for (const Message& message : conversation.messages) {
    turns.push_back({message.role == "tool" ? "tool_response" : message.role, message.content});
    std::string calls;
    for (const ToolCall& call : message.tool_calls) {
      calls += (calls.empty() ? "" : ", ") + call_text(call, "arguments");
    }
    if (!calls.empty()) turns.back().content += "<|tool_call|>[" + calls + "]<|/tool_call|>";
  }
  std::string tools;
  for (const base::Json& tool : conversation.tools) {
    tools += (tools.empty() ? "" : ", ") + base::json_text(tool);
  }
  if (!tools.empty()) {
    append_to_system(turns, conversation.system, "", "<|tool|>[" + tools + "]<|/tool|>");
  }
  return turns;
}

// ---- Llama 3.1: tools in the first user turn, results as turns of ipython. The space that the
// published template leaves out behind "value}." is left out here too.

constexpr std::string_view kLlamaTools =
    "Given the following functions, please respond with a JSON for a function call with its proper "
    "arguments that best answers the given prompt.\n\nRespond in the format {\"name\": function "
    "name, \"parameters\": dictionary of argument name and its value}.Do not use variables.\n\n";

void add_llama_tools(std::vector<Message>& turns, std::span<const base::Json> tools) {
  const size_t first = !turns.empty() && turns.front().role == "system" ? 1 : 0;
  if (first >= turns.size() || turns[first].role != "user") {
    refuse("messages",
           "found tools and no user message at the beginning, where this model's "
           "format puts them");
  }
  std::string text(kLlamaTools);
  for (const base::Json& tool : tools) text += base::json_text(tool, 4) + "\n\n";
  turns[first].content.insert(0, text);
}

std::vector<Message> llama3_turns(const ToolConversation& conversation) {
  std::vector<Message> turns;
  for (const Message& message : conversation.messages) {
    if (message.role == "tool") {
      turns.push_back({"ipython", base::json_quote(message.content)});
    } else if (message.tool_calls.empty()) {
      turns.push_back({message.role, message.content});
    } else {
      std::string calls;
      for (const ToolCall& call : message.tool_calls) {
        calls += (calls.empty() ? "" : "; ") + call_text(call, "parameters");
      }
      turns.push_back({message.role, calls});
    }
  }
  if (!conversation.tools.empty()) add_llama_tools(turns, conversation.whole);
  return turns;
}

// ---- Hermes: for models without tokens for tools; Qwen 2.5 was trained on it.

std::string hermes_tools(std::span<const base::Json> tools) {
  std::string text =
      "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are "
      "provided with function signatures within <tools></tools> XML tags:\n<tools>";
  for (const base::Json& tool : tools) text += "\n" + base::json_text(tool);
  return text +
         "\n</tools>\n\nFor each function call, return a json object with function name and "
         "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": "
         "<function-name>, \"arguments\": <args-json-object>}\n</tool_call>";
}

std::vector<Message> hermes_turns(const ToolConversation& conversation) {
  std::vector<Message> turns;
  bool after_result = false;
  for (const Message& message : conversation.messages) {
    if (message.role == "tool") {  // those behind each other in one turn
      const std::string result = "<tool_response>\n" + message.content + "\n</tool_response>";
      if (after_result) {
        turns.back().content += "\n" + result;
      } else {
        turns.push_back({"user", result});
      }
      after_result = true;
      continue;
    }
    after_result = false;
    turns.push_back({message.role, message.content});
    for (const ToolCall& call : message.tool_calls) {
      std::string& content = turns.back().content;
      content += content.empty() ? "" : "\n";
      content += "<tool_call>\n" + call_text(call, "arguments") + "\n</tool_call>";
    }
  }
  if (!conversation.tools.empty()) {
    append_to_system(turns, conversation.system, "\n\n", hermes_tools(conversation.whole));
  }
  return turns;
}

constexpr ToolFormat kRows[] = {
    {.name = "phi4-mini",
     .description = "Phi-4-mini: <|tool_call|>[{\"name\": ..., \"arguments\": ...}]<|/tool_call|>",
     .open = "<|tool_call|>",
     .close = "<|/tool_call|>",
     .prefix = "<|tool_call|>",
     .suffix = "<|/tool_call|>",
     .list_open = "[",
     .before_name = "{\"name\": ",
     .before_arguments = ", \"arguments\": ",
     .after = "}",
     .separator = ", ",
     .list_close = "]",
     .max_calls = 16,
     .plain_turns = phi4_mini_turns},
    {.name = "llama3",
     .description = "Llama 3.1: {\"name\": ..., \"parameters\": ...} as the whole answer",
     .open = "<|python_tag|>",
     .before_name = "{\"name\": ",
     .before_arguments = ", \"parameters\": ",
     .after = "}",
     .plain_turns = llama3_turns},
    {.name = "hermes",
     .description = "<tool_call>{\"name\": ..., \"arguments\": ...}</tool_call>, for any model",
     .open = "<tool_call>",
     .close = "</tool_call>",
     .prefix = "<tool_call>\n",
     .suffix = "\n</tool_call>",
     .before_name = "{\"name\": ",
     .before_arguments = ", \"arguments\": ",
     .after = "}",
     .separator = "\n</tool_call>\n<tool_call>\n",
     .max_calls = 16,
     .plain_turns = hermes_turns},
};

// One of the request's tools: its function.
const base::Json& function_of(const base::Json& tool, const std::string& where) {
  if (!tool.is_object()) {
    refuse(where, fmt::format("found {}, allowed is an object", tool.describe()));
  }
  const base::Json* inside = tool.find("function");
  const base::Json& function = inside == nullptr ? tool : *inside;
  const std::string place = inside == nullptr ? where : where + ".function";
  const base::Json* name = function.find("name");
  if (name == nullptr || !name->is_string() || name->as_string(place).empty()) {
    refuse(place + ".name", fmt::format("found {}, allowed is a name",
                                        name == nullptr ? "nothing" : name->describe()));
  }
  return function;
}

}  // namespace

std::span<const ToolFormat> tool_formats() noexcept { return kRows; }

const ToolFormat& tool_format(std::string_view name) {
  for (const ToolFormat& row : kRows) {
    if (row.name == name) return row;
  }
  UPG_CHECK(false && "every chat template names a tool format");
  return kRows[0];
}

PlainTurns plain_turns(const ToolFormat& format, std::span<const Message> messages,
                       std::string_view tools_json, std::string_view system) {
  const base::JsonDocument document(tools_json.empty() ? "[]" : tools_json, "tools");
  if (!document.root().is_array()) {
    refuse("tools", fmt::format("found {}, allowed is a list", document.root().describe()));
  }
  const auto whole = document.root().as_array("tools");
  std::vector<base::Json> functions;
  for (const base::Json& tool : whole) {
    functions.push_back(function_of(tool, fmt::format("tools[{}]", functions.size())));
  }
  return {format.plain_turns({messages, functions, whole, system}), !whole.empty()};
}

}  // namespace upg::tokenizer
