// The answer to a request for text: collected and sent as a whole, or piece by piece.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/api/api.h"
#include "server/api/api_request.h"
#include "server/event_queue.h"

namespace upg::server {

// What an answer looks like in one of the two routes. Pure functions of what they are given.
struct ChoiceText {
  int index = 0;
  std::string text;
  std::vector<TokenLogprob> logprobs;            // of the tokens of the text
  std::vector<TokenLogprob> prompt_logprobs;     // of the prompt's tokens, from the second on
  const std::vector<int32_t>* prompt = nullptr;  // where it is echoed
  std::string finish_reason;
};

struct AnswerHead {
  std::string id;
  int64_t created = 0;
  std::string model;
};

struct AnswerUsage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t completion_tokens = 0;
  GenerationTimes times;  // of the first choice
  int first_prompt_tokens = 0;
  int first_cached_tokens = 0;
  int first_completion_tokens = 0;
};

std::string logprob_json(float logprob);
std::string usage_json(const AnswerUsage& usage);
std::string timings_json(const AnswerUsage& usage);
std::string chat_logprobs_json(const LanguageModel& model, std::span<const TokenLogprob> logprobs);
std::string completion_logprobs_json(const LanguageModel& model, const ChoiceText& choice,
                                     size_t text_offset);

// Starts the generation of every prompt and answers the exchange when it is done, or as it goes.
// On the loop's thread. prompts: token ids, each checked to fit.
void answer_request(Api& api, const http::ExchangePointer& exchange,
                    const ServedModelPointer& model, ApiRequest request,
                    std::vector<std::vector<int32_t>> prompts);

}  // namespace upg::server
