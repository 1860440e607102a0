// How models are told of tools and write calls of them: a table, one row a way.
//
// A row turns a conversation with tools, calls and results into one of plain turns, which a chat
// template then writes, and says how the calls in an answer look, for the parser of answers
// (tool_parser.h) and for answers that have to be a call.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "tokenizer/message.h"

namespace upg::tokenizer {

// What a row is given to write.
struct ToolConversation {
  std::span<const Message> messages;
  std::span<const base::Json> tools;  // objects with a name: the `function` of each tool
  std::span<const base::Json> whole;  // the same as they were sent, `type` and all
  std::string_view system;            // the model's own system message, used when there is none
};

struct ToolFormat {
  std::string_view name = {};
  std::string_view description = {};  // one line

  // ---- calls in an answer: OPEN, then one or several objects {"name": ..., "arguments": {...}},
  // also in a list, then CLOSE. The key of the arguments may be `parameters` too.
  std::string_view open = {};
  std::string_view close = {};  // may be empty

  // ---- an answer that has to be a call: the prompt is followed by prefix, the answer by suffix
  // (both go through the parser as well); what is between is as constrain::ToolCallText says.
  std::string_view prefix = {};
  std::string_view suffix = {};
  std::string_view list_open = {};
  std::string_view before_name = {};
  std::string_view before_arguments = {};
  std::string_view after = {};
  std::string_view separator = {};
  std::string_view list_close = {};
  int max_calls = 1;

  // The same conversation in plain turns, of roles that the format's templates know. Throws Error
  // (kUsage) for one that it cannot express.
  std::vector<Message> (*plain_turns)(const ToolConversation&) = nullptr;
};

std::span<const ToolFormat> tool_formats() noexcept;
// The row of that name; there is one for every ChatTemplate::tool_format.
const ToolFormat& tool_format(std::string_view name);

struct PlainTurns {
  std::vector<Message> messages;
  bool has_tools = false;
};

// tools_json: the `tools` of an OpenAI request: a list of {"type": "function", "function": {"name":
// ..., ...}}, or of such functions alone; empty: none. Throws Error naming the place.
PlainTurns plain_turns(const ToolFormat& format, std::span<const Message> messages,
                       std::string_view tools_json, std::string_view system);

}  // namespace upg::tokenizer
