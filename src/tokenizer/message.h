// A turn of a conversation.
#pragma once

#include <string>
#include <vector>

namespace upg::tokenizer {

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON text of an object
};

struct Message {
  std::string role;  // system (or developer, the same), user, assistant, tool
  std::string content;
  std::vector<ToolCall> tool_calls = {};  // of an assistant
  std::string tool_call_id = {};          // of a tool: whose result it is
};

}  // namespace upg::tokenizer
