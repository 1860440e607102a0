// The JSON of answers.
#include <fmt/format.h>

#include "base/json.h"
#include "base/text.h"
#include "server/api/answer.h"

namespace upg::server {
namespace {

std::string token_text(const LanguageModel& model, int32_t id) {
  return model.decode({&id, 1}, false);
}

std::string bytes_json(std::string_view bytes) {
  std::string json = "[";
  for (const char byte : bytes) {
    if (json.size() > 1) json += ',';
    json += std::to_string(static_cast<unsigned char>(byte));
  }
  return json + "]";
}

double per_second(int count, double seconds) { return seconds > 0 ? count / seconds : 0; }

// {"token":...,"logprob":...,"bytes":[...]; the brace is left open.
std::string chat_token(const LanguageModel& model, int32_t id, float logprob) {
  return fmt::format(R"({{"token":{},"logprob":{},"bytes":{})",
                     base::json_quote(token_text(model, id)), logprob_json(logprob),
                     bytes_json(model.token_bytes(id)));
}

}  // namespace

// JSON has no infinity: what can never be chosen is very unlikely.
std::string logprob_json(float logprob) {
  return logprob > -9999.0f ? fmt::format("{:.6f}", logprob) : "-9999.0";
}

std::string usage_json(const AnswerUsage& usage) {
  return fmt::format(R"({{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},)"
                     R"("prompt_tokens_details":{{"cached_tokens":{}}}}})",
                     usage.prompt_tokens, usage.completion_tokens,
                     usage.prompt_tokens + usage.completion_tokens, usage.cached_tokens);
}

std::string timings_json(const AnswerUsage& usage) {
  const int computed = usage.first_prompt_tokens - usage.first_cached_tokens;
  const int generated = usage.first_completion_tokens;
  return fmt::format(
      R"({{"cache_n":{},"prompt_n":{},"prompt_ms":{:.3f},"prompt_per_second":{:.3f},)"
      R"("predicted_n":{},"predicted_ms":{:.3f},"predicted_per_second":{:.3f}}})",
      usage.first_cached_tokens, computed, usage.times.prompt * 1e3,
      per_second(computed, usage.times.prompt), generated, usage.times.generate * 1e3,
      per_second(generated - 1, usage.times.generate));
}

std::string chat_logprobs_json(const LanguageModel& model, std::span<const TokenLogprob> logprobs) {
  std::string json = R"({"content":[)";
  for (const TokenLogprob& one : logprobs) {
    if (json.back() != '[') json += ',';
    json += chat_token(model, one.id, one.logprob) + R"(,"top_logprobs":[)";
    for (const auto& [id, logprob] : one.top) {
      if (json.back() != '[') json += ',';
      json += chat_token(model, id, logprob) + "}";
    }
    json += "]}";
  }
  return json + R"(],"refusal":null})";
}

// Parallel arrays: tokens, their logprobs, the others of each, where each begins in the text.
std::string completion_logprobs_json(const LanguageModel& model, const ChoiceText& choice,
                                     size_t text_offset) {
  std::string tokens;
  std::string logprobs;
  std::string tops;
  std::string offsets;
  const auto add = [&](int32_t id, const TokenLogprob* logprob) {
    const char* comma = tokens.empty() ? "" : ",";
    const std::string text = token_text(model, id);
    tokens += comma + base::json_quote(text);
    offsets += fmt::format("{}{}", comma, text_offset);
    text_offset += text.size();
    logprobs += comma + (logprob == nullptr ? "null" : logprob_json(logprob->logprob));
    std::string top;
    if (logprob != nullptr) {
      for (const auto& [other, value] : logprob->top) {
        // Two tokens may look alike; a key may occur once.
        const std::string key = base::json_quote(token_text(model, other));
        if (top.find(key + ":") != std::string::npos) continue;
        top += fmt::format("{}{}:{}", top.empty() ? "" : ",", key, logprob_json(value));
      }
    }
    tops += comma + (logprob == nullptr ? std::string("null") : "{" + top + "}");
  };
  if (choice.prompt != nullptr) {
    for (size_t i = 0; i < choice.prompt->size(); ++i) {
      const bool known = i > 0 && i - 1 < choice.prompt_logprobs.size();
      add((*choice.prompt)[i], known ? &choice.prompt_logprobs[i - 1] : nullptr);
    }
  }
  for (const TokenLogprob& one : choice.logprobs) add(one.id, &one);
  return fmt::format(
      R"({{"tokens":[{}],"token_logprobs":[{}],"top_logprobs":[{}],"text_offset":[{}]}})", tokens,
      logprobs, tops, offsets);
}

}  // namespace upg::server
