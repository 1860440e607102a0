// Tools of a chat request: how they get into the prompt, how calls come out of the answer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "constrain/grammar.h"
#include "server/api/api_request.h"
#include "server/language_model.h"
#include "tokenizer/tool_parser.h"

namespace upg::server {

// Of one request that may call tools.
struct ToolUse {
  const tokenizer::ToolFormat* format = nullptr;
  std::vector<std::string> names;
  std::string json;     // the tools, for the prompt
  bool forced = false;  // the answer has to be a call: it begins with format->prefix
  bool parallel = true;
  std::shared_ptr<const constrain::Grammar> grammar;  // where it is forced
};

// Null when there are no tools, or none may be called. Throws ApiError (400) for a tool that is
// asked for by name and is not there, and for a schema of a forced call that is not supported.
std::shared_ptr<const ToolUse> tool_use(const ApiRequest& request, const LanguageModel& model);

// A call as it is collected.
struct CollectedCall {
  std::string id;
  std::string name;
  std::string arguments;
};
std::string tool_calls_json(const std::vector<CollectedCall>& calls);

// ---- deltas of a stream: {"tool_calls":[...]} without the outer braces
std::string call_begin_delta(int index, const CollectedCall& call);
std::string call_arguments_delta(int index, std::string_view piece);

}  // namespace upg::server
