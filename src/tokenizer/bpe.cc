#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

#include "base/check.h"

namespace upg::tokenizer {
namespace {

constexpr size_t kShort = 48;  // symbols; above it the queue wins
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

void PairQueue::push(uint32_t rank, uint32_t place) {
  uint32_t& index = bucket_of_[rank];
  if (index == kNoBucket) {
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(buckets_.size()));
      buckets_.emplace_back();
    }
    index = free_.back();
    free_.pop_back();
    ranks_.push_back(rank);
    std::push_heap(ranks_.begin(), ranks_.end(), std::greater<>());
  }
  Bucket& bucket = buckets_[index];
  if (bucket.next == bucket.ordered.size() || bucket.ordered.back() <= place) {
    bucket.ordered.push_back(place);
  } else {
    bucket.late.push_back(place);
    std::push_heap(bucket.late.begin(), bucket.late.end(), std::greater<>());
  }
}

uint32_t PairQueue::Bucket::take() {
  if (late.empty() || (next < ordered.size() && ordered[next] <= late.front())) {
    return ordered[next++];
  }
  std::pop_heap(late.begin(), late.end(), std::greater<>());
  const uint32_t place = late.back();
  late.pop_back();
  return place;
}

bool PairQueue::pop(uint32_t& rank, uint32_t& place) {
  while (!ranks_.empty()) {
    rank = ranks_.front();
    Bucket& bucket = buckets_[bucket_of_[rank]];
    if (!bucket.empty()) {
      place = bucket.take();
      return true;
    }
    bucket.ordered.clear();
    bucket.next = 0;
    free_.push_back(std::exchange(bucket_of_[rank], kNoBucket));
    std::pop_heap(ranks_.begin(), ranks_.end(), std::greater<>());
    ranks_.pop_back();
  }
  return false;
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
  if (!queue_) queue_.emplace(table_.size());
  for (uint32_t i = 0; i < count; ++i) {
    next_[i] = i + 1 < count ? i + 1 : kEnd;
    previous_[i] = i == 0 ? kEnd : i - 1;
    queue_pair(symbols, i);
  }
  uint32_t rank = 0;
  uint32_t at = 0;
  while (queue_->pop(rank, at)) {
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
  if (ranks_[at] != MergeTable::kNone) queue_->push(ranks_[at], at);
}

}  // namespace upg::tokenizer
