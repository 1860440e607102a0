#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/check.h"

namespace upg::tokenizer {
namespace {

constexpr size_t kShort = 48;  // symbols; above it the heap wins
constexpr uint32_t kEnd = UINT32_MAX;

}  // namespace

MergeTable::MergeTable(std::span<const Merge> merges)
    : slots_(std::bit_ceil(merges.size() * 2 + 2)), mask_(slots_.size() - 1) {
  UPG_CHECK(merges.size() < kNone);
  results_.reserve(merges.size());
  for (const Merge& merge : merges) {
    const auto rank = static_cast<uint32_t>(results_.size());
    slots_[slot_of(merge.left, merge.right)] = {merge.left, merge.right, rank};
    results_.push_back(merge.result);
  }
}

// The slot of the pair, or the empty one where it belongs.
size_t MergeTable::slot_of(int32_t left, int32_t right) const noexcept {
  const uint64_t key = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  const uint64_t hash = key * 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio: the high bits mix well
  size_t slot = (hash >> 32) & mask_;
  while (slots_[slot].rank != kNone && (slots_[slot].left != left || slots_[slot].right != right)) {
    slot = (slot + 1) & mask_;
  }
  return slot;
}

uint32_t MergeTable::rank(int32_t left, int32_t right) const noexcept {
  return slots_[slot_of(left, right)].rank;
}

void BpeMerger::merge(std::vector<int32_t>& symbols) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShort) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
}

void BpeMerger::merge_short(std::vector<int32_t>& symbols) {
  ranks_.resize(symbols.size() - 1);
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    ranks_[i] = table_.rank(symbols[i], symbols[i + 1]);
  }
  while (!ranks_.empty()) {
    const auto best = std::min_element(ranks_.begin(), ranks_.end());
    if (*best == MergeTable::kNone) return;
    const auto at = best - ranks_.begin();
    const auto i = static_cast<size_t>(at);
    symbols[i] = table_.result(*best);
    symbols.erase(symbols.begin() + at + 1);
    ranks_.erase(best);
    if (i > 0) ranks_[i - 1] = table_.rank(symbols[i - 1], symbols[i]);
    if (i < ranks_.size()) ranks_[i] = table_.rank(symbols[i], symbols[i + 1]);
  }
}

void BpeMerger::merge_long(std::vector<int32_t>& symbols) {
  const auto count = static_cast<uint32_t>(symbols.size());
  UPG_CHECK(symbols.size() < kEnd);
  next_.resize(count);
  previous_.resize(count);
  ranks_.resize(count);
  heap_.clear();
  for (uint32_t i = 0; i < count; ++i) {
    next_[i] = i + 1 < count ? i + 1 : kEnd;
    previous_[i] = i == 0 ? kEnd : i - 1;
    ranks_[i] = i + 1 < count ? table_.rank(symbols[i], symbols[i + 1]) : MergeTable::kNone;
    if (ranks_[i] != MergeTable::kNone) heap_.push_back(uint64_t{ranks_[i]} << 32 | i);
  }
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    const auto at = static_cast<uint32_t>(heap_.back());
    const auto rank = static_cast<uint32_t>(heap_.back() >> 32);
    heap_.pop_back();
    if (ranks_[at] == rank) join(symbols, at, rank);  // else the pair is no longer there
  }
  size_t kept = 0;
  for (uint32_t i = 0; i != kEnd; i = next_[i]) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

void BpeMerger::join(std::vector<int32_t>& symbols, uint32_t at, uint32_t rank) {
  symbols[at] = table_.result(rank);
  const uint32_t gone = next_[at];
  ranks_[gone] = MergeTable::kNone;
  next_[at] = next_[gone];
  if (next_[at] != kEnd) previous_[next_[at]] = at;
  if (previous_[at] != kEnd) queue_pair(symbols, previous_[at]);
  queue_pair(symbols, at);
}

void BpeMerger::queue_pair(const std::vector<int32_t>& symbols, uint32_t at) {
  const uint32_t right = next_[at];
  ranks_[at] = right == kEnd ? MergeTable::kNone : table_.rank(symbols[at], symbols[right]);
  if (ranks_[at] == MergeTable::kNone) return;
  heap_.push_back(uint64_t{ranks_[at]} << 32 | at);
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

}  // namespace upg::tokenizer
