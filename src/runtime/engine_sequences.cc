// Sequences: who holds which pages of the cache.
#include <fmt/format.h>

#include "runtime/engine_state.h"

namespace upg::runtime {

Sequence& EngineState::find(SequenceId id) {
  const auto found = sequences.find(id);
  if (found != sequences.end()) return found->second;
  throw Error(ErrorCode::kUsage, fmt::format("sequence {}: there is none of that number", id));
}

SequenceId EngineState::create(int planned_tokens) {
  if (planned_tokens < 0 || planned_tokens > info.context) {
    throw Error(ErrorCode::kUsage,
                fmt::format("planned_tokens: found {}, allowed 1 to {} (the context), or 0 for it",
                            planned_tokens, info.context));
  }
  const int needed = planned_tokens == 0 ? 1 : pages_for(planned_tokens);
  if (needed > cache->free_pages()) {
    throw Error(ErrorCode::kOutOfMemory,
                fmt::format("KV cache: a new sequence needs {} pages of {} tokens, free are {} of "
                            "{}",
                            needed, kernels::kPageTokens, cache->free_pages(), cache->pages()));
  }
  const std::lock_guard lock(mutex);
  Sequence& sequence = sequences[next_id];
  sequence.limit = planned_tokens == 0 ? info.context : planned_tokens;
  sequence.rope = &model->rope_for(sequence.limit);
  return next_id++;
}

void EngineState::check_length(SequenceId id, int tokens) {
  const int length = find(id).length();
  if (tokens >= 0 && tokens <= length) return;
  throw Error(ErrorCode::kUsage, fmt::format("sequence {}: tokens to keep: found {}, allowed 0 to "
                                             "{}",
                                             id, tokens, length));
}

SequenceId EngineState::fork(SequenceId id, int tokens) {
  check_length(id, tokens);
  const Sequence& from = find(id);
  const std::lock_guard lock(mutex);
  Sequence& fork = sequences[next_id];
  fork.limit = from.limit;
  fork.rope = from.rope;
  fork.tokens.assign(from.tokens.begin(), from.tokens.begin() + tokens);
  fork.pages = cache->share(from.pages, tokens);
  return next_id++;
}

void EngineState::free(SequenceId id) {
  cache->truncate(find(id).pages, 0);
  const std::lock_guard lock(mutex);
  sequences.erase(id);
}

void EngineState::truncate(SequenceId id, int tokens) {
  check_length(id, tokens);
  Sequence& sequence = find(id);
  cache->truncate(sequence.pages, tokens);
  sequence.tokens.resize(static_cast<size_t>(tokens));
}

void EngineState::cancel(SequenceId id) noexcept {
  const std::lock_guard lock(mutex);
  const auto found = sequences.find(id);
  if (found != sequences.end()) found->second.cancelled = true;
}

}  // namespace upg::runtime
