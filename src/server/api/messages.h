// The messages of a chat request, and its tools, as they come in.
#pragma once

#include <string_view>
#include <vector>

#include "base/json.h"
#include "upg/engine.h"

namespace upg::server {

// Throws Error(kUsage, kInvalidData) naming the place: "messages[2].content".
std::vector<ChatMessage> read_messages(const base::Json& list, std::string_view where);

// Throws the same unless it is {"type":"function","function":{"name",...}}.
void check_tool(const base::Json& tool, std::string_view where);

}  // namespace upg::server
