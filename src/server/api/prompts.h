// From what a request says to the tokens a model reads.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/api/api_request.h"
#include "server/api/tools.h"
#include "server/language_model.h"

namespace upg::server {

// The conversation in the words of the model's template; tools: what of them may be called, or
// null. Throws ApiError.
std::string chat_prompt(const LanguageModel& model, const ApiRequest& request,
                        const ToolUse* tools);

// Every prompt of a completion or an embedding. Throws ApiError naming `param`.
std::vector<std::vector<int32_t>> encode_prompts(const LanguageModel& model,
                                                 const ApiRequest& request, std::string_view param);

// The same tokens. Throws ApiError (400): for none, for ids that the model does not have, and
// context_length_exceeded with both numbers where they leave no room in the context.
std::vector<int32_t> checked_prompt(const LanguageModel& model, std::vector<int32_t> tokens,
                                    std::string_view param);

}  // namespace upg::server
