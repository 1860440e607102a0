#include "runtime/continuation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace upg::runtime {
namespace {

// Token k has its place when the prompt and k - 1 more are in the cache.
int64_t most_tokens(int max_tokens, size_t prompt, int limit) {
  if (max_tokens < -1) {
    throw Error(ErrorCode::kUsage, fmt::format("max_tokens: found {}, allowed -1 (to the end) or "
                                               "more",
                                               max_tokens));
  }
  const int64_t room = limit - static_cast<int64_t>(prompt) + 1;
  return max_tokens < 0 ? room : std::min<int64_t>(room, max_tokens);
}

}  // namespace

TextContinuation::TextContinuation(const Text* text, const ModelInfo& info,
                                   std::span<const int32_t> prompt, const GenerateOptions& options,
                                   int limit)
    : stop_ids_(info.stop_ids),
      ignore_end_of_text_(options.ignore_end_of_text),
      most_(most_tokens(options.max_tokens, prompt.size(), limit)),
      sampler_(options.sampling, info.vocabulary),
      stops_(options.stop),
      filter_(options.filter),
      history_(prompt.begin(), prompt.end()) {
  if (text != nullptr) stream_.emplace(text->tokenizer(), !options.show_special);
}

Continuation::Next TextContinuation::next(std::span<const float> logits) {
  Next next;
  next.id = choose(logits);
  if (is_stop(next.id)) {
    next.part_of_text = false;
    next.text = rest();
    next.finish = FinishReason::kStop;
    return next;
  }
  ++count_;
  history_.push_back(next.id);
  next.text = stops_.push(stream_ ? stream_->push(next.id) : std::string());
  const bool whole = filter_ && filter_->ended();
  if (whole || count_ >= most_) {
    next.finish = whole ? FinishReason::kStop : FinishReason::kLength;
    next.text += rest();
  }
  if (stops_.stopped()) next.finish = FinishReason::kStop;
  return next;
}

int32_t TextContinuation::offered() {
  UPG_CHECK(offered_.has_value());
  sampler_.skip_draw();
  return *std::exchange(offered_, std::nullopt);
}

// Drawing first and asking afterwards leaves the vocabulary unmasked for nearly every token.
int32_t TextContinuation::choose(std::span<const float> logits) {
  int32_t id = logits.empty() ? offered() : sampler_.sample(logits, history_);
  if (!filter_) return id;
  if (!filter_->allows(id)) {
    masked_.assign(logits.begin(), logits.end());
    filter_->mask(masked_);
    id = sampler_.sample(masked_, history_);
  }
  filter_->accept(id);
  return id;
}

// What the decoder and the stop filter held back: text after all, since no more tokens come.
std::string TextContinuation::rest() {
  std::string text = stops_.push(stream_ ? stream_->finish() : std::string());
  return text + stops_.finish();
}

bool TextContinuation::is_stop(int32_t id) const {
  return !ignore_end_of_text_ &&
         std::find(stop_ids_.begin(), stop_ids_.end(), id) != stop_ids_.end();
}

}  // namespace upg::runtime
