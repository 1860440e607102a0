// The part of a generation that knows nothing of steps: sampler, stop strings, text.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/engine_text.h"
#include "runtime/sampler.h"
#include "runtime/stop_filter.h"
#include "tokenizer/stream_decoder.h"
#include "upg/engine.h"

namespace upg::runtime {

class TextContinuation : public Continuation {
 public:
  // text: null without a tokenizer; no text then. limit: tokens of the sequence, prompt included.
  // Throws Error(kUsage) for options out of range.
  TextContinuation(const Text* text, const ModelInfo& info, std::span<const int32_t> prompt,
                   const GenerateOptions& options, int limit);

  Next next(std::span<const float> logits) override;
  std::string rest() override;

  // For a step that chooses: what a backend is to do or what comes of logits at hand, whether the
  // token chosen may come, and that it is the next one. Nothing changes before offer().
  kernels::TokenChoice choice() { return sampler_.choice(history_); }
  int32_t chosen(std::span<const float> logits) { return sampler_.next_sample(logits, history_); }
  bool allows(int32_t id) const { return !filter_ || filter_->allows(id); }
  void offer(int32_t id) noexcept { offered_ = id; }

 private:
  int32_t choose(std::span<const float> logits);
  int32_t offered();
  bool is_stop(int32_t id) const;

  const std::vector<int32_t>& stop_ids_;
  bool ignore_end_of_text_;
  int64_t most_;  // tokens that may come
  int64_t count_ = 0;
  Sampler sampler_;
  StopFilter stops_;
  std::shared_ptr<TokenFilter> filter_;
  std::optional<tokenizer::StreamDecoder> stream_;
  std::vector<int32_t> history_;
  std::optional<int32_t> offered_;
  std::vector<float> masked_;  // [vocabulary], where the filter had to be asked
};

}  // namespace upg::runtime
