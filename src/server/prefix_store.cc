#include "server/prefix_store.h"

#include <algorithm>
#include <utility>

namespace upg::server {

int common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) noexcept {
  const size_t length = std::min(a.size(), b.size());
  const auto end = a.begin() + static_cast<ptrdiff_t>(length);
  return static_cast<int>(std::mismatch(a.begin(), end, b.begin()).first - a.begin());
}

void PrefixStore::keep(SequenceId sequence, std::vector<int32_t> tokens) {
  // What another one begins with would never be the longest.
  for (Iterator kept = kept_.begin(); kept != kept_.end();) {
    const bool part = common_prefix(kept->tokens, tokens) == static_cast<int>(kept->tokens.size());
    if (part) model_.free_sequence(kept->sequence);
    kept = part ? kept_.erase(kept) : std::next(kept);
  }
  kept_.push_back({sequence, std::move(tokens)});
  while (kept_.size() > capacity_) evict();
}

int PrefixStore::longest(std::span<const int32_t> prompt) const noexcept {
  int best = 0;
  for (const Kept& kept : kept_) best = std::max(best, common_prefix(kept.tokens, prompt));
  return best;
}

Prefix PrefixStore::take(std::span<const int32_t> prompt) {
  const std::span<const int32_t> usable = prompt.first(prompt.size() - 1);
  Iterator best = kept_.end();
  int tokens = 0;
  for (Iterator kept = kept_.begin(); kept != kept_.end(); ++kept) {
    const int common = common_prefix(kept->tokens, usable);
    if (common == 0 || common < tokens) continue;
    tokens = common;
    best = kept;
  }
  if (best == kept_.end()) return {};
  if (tokens == static_cast<int>(best->tokens.size())) {
    const SequenceId sequence = best->sequence;
    kept_.erase(best);
    return {sequence, tokens};
  }
  kept_.splice(kept_.end(), kept_, best);
  return {model_.fork_sequence(best->sequence, tokens), tokens};
}

bool PrefixStore::evict() {
  if (kept_.empty()) return false;
  model_.free_sequence(kept_.front().sequence);
  kept_.pop_front();
  return true;
}

void PrefixStore::clear() {
  while (evict()) {
  }
}

}  // namespace upg::server
