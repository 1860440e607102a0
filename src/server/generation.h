// What the scheduler is asked for and what it answers, piece by piece.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "upg/engine.h"

namespace upg::server {

using Clock = std::chrono::steady_clock;

struct GenerationRequest {
  std::vector<int32_t> prompt;  // at least one token
  GenerateOptions options;
  int top_logprobs = -1;         // -1: no logprobs; 0 to 20 others beside the token's own
  bool prompt_logprobs = false;  // of the prompt's tokens too
  bool embedding = false;        // the mean of the hidden states instead of text
  // Makes options.filter, which each answer needs one of its own of.
  std::function<std::shared_ptr<TokenFilter>()> make_filter = {};
  Clock::time_point deadline = Clock::time_point::max();
};

// Natural logarithms of probabilities of the raw softmax: temperature 1, before every sampler.
struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;  // the likeliest, best first
};

struct GeneratedPiece {
  int32_t id = 0;
  bool part_of_text = true;  // false: it only ended the text
  std::string text;
  std::optional<TokenLogprob> logprob;
};

struct GenerationTimes {
  double queued = 0;    // seconds until its first step
  double prompt = 0;    // from there to the first token
  double generate = 0;  // from the first token to the last
};

struct GenerationResult {
  FinishReason finish = FinishReason::kStop;
  std::optional<Error>
      error;  // it failed, or was cancelled (kCancelled), or took too long (kTimeout)
  bool timed_out = false;
  int prompt_tokens = 0;
  int cached_tokens = 0;
  int generated_tokens = 0;
  GenerationTimes times;
  std::vector<float> embedding;  // [hidden], of length 1
};

// Called on the scheduler's thread; must be quick.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  // Of the prompt's tokens from the second on, before the first piece, where they were asked for.
  virtual void prompt(int choice, std::vector<TokenLogprob> logprobs) noexcept = 0;
  virtual void piece(int choice, GeneratedPiece piece) noexcept = 0;
  virtual void finished(int choice, GenerationResult result) noexcept = 0;  // exactly once
};

}  // namespace upg::server
