#include "server/api/prompts.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/api/api_error.h"

namespace upg::server {

std::string chat_prompt(const LanguageModel& model, const ApiRequest& request,
                        const ToolUse* tools) {
  try {
    if (tools == nullptr) return model.apply_chat_template(request.messages, {});
    const std::string prompt = model.apply_chat_template(request.messages, tools->json);
    return tools->forced ? prompt + std::string(tools->format->prefix) : prompt;
  } catch (const Error& error) {
    throw request_error(error, "messages");
  }
}

std::vector<std::vector<int32_t>> encode_prompts(const LanguageModel& model,
                                                 const ApiRequest& request,
                                                 std::string_view param) {
  std::vector<std::vector<int32_t>> prompts;
  for (const PromptInput& prompt : request.prompts) {
    std::vector<int32_t> tokens;
    if (const auto* text = std::get_if<std::string>(&prompt)) {
      tokens = model.encode(*text, true);
    } else {
      tokens = std::get<std::vector<int32_t>>(prompt);
    }
    prompts.push_back(checked_prompt(model, std::move(tokens), param));
  }
  return prompts;
}

std::vector<int32_t> checked_prompt(const LanguageModel& model, std::vector<int32_t> tokens,
                                    std::string_view param) {
  const ModelInfo& info = model.info();
  if (tokens.empty()) {
    throw ApiError(400, fmt::format("{}: found no tokens, needed is at least 1", param), param);
  }
  for (const int32_t id : tokens) {
    if (id >= 0 && id < info.vocabulary) continue;
    throw ApiError(
        400, fmt::format("{}: found token {}, allowed are 0 to {}", param, id, info.vocabulary - 1),
        param);
  }
  if (tokens.size() > static_cast<size_t>(info.context)) {
    throw ApiError(400,
                   fmt::format("This model's maximum context length is {} tokens, and your {} has "
                               "{} tokens",
                               info.context, param, tokens.size()),
                   param, "context_length_exceeded");
  }
  return tokens;
}

}  // namespace upg::server
