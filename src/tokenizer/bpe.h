// Byte-pair encoding: joining neighbouring tokens by ranked merges.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace upg::tokenizer {

struct Merge {
  int32_t left;
  int32_t right;
  int32_t result;
};

// The merges by pair: an open hash table. Immutable after construction.
class MergeTable {
 public:
  // Rank = place in the list; of a pair that occurs twice the later one counts, as in the
  // `tokenizers` package.
  explicit MergeTable(std::span<const Merge> merges);

  static constexpr uint32_t kNone = UINT32_MAX;
  uint32_t rank(int32_t left, int32_t right) const noexcept;  // kNone: these two do not join
  int32_t result(uint32_t rank) const noexcept { return results_[rank]; }
  size_t size() const noexcept { return results_.size(); }

 private:
  struct Slot {
    int32_t left = -1;
    int32_t right = -1;
    uint32_t rank = kNone;
  };
  size_t slot_of(int32_t left, int32_t right) const noexcept;

  std::vector<Slot> slots_;
  std::vector<int32_t> results_;
  size_t mask_ = 0;
};

// The pairs of a long piece, lowest rank first, of equals the leftmost. One queue a rank: a hostile
// piece has few ranks and a million pairs, which mostly arrive in order, so that a queue takes them
// without a heap (measured: a megabyte of spaces 4 times as fast as with one heap of all pairs).
class PairQueue {
 public:
  explicit PairQueue(size_t ranks) : bucket_of_(ranks, kNoBucket) {}
  void push(uint32_t rank, uint32_t place);
  // False when there is none.
  bool pop(uint32_t& rank, uint32_t& place);

 private:
  static constexpr uint32_t kNoBucket = UINT32_MAX;
  struct Bucket {
    std::vector<uint32_t> ordered;  // ascending, from `next` on
    size_t next = 0;
    std::vector<uint32_t> late;  // what came out of order: a heap
    bool empty() const noexcept { return next == ordered.size() && late.empty(); }
    uint32_t take();
  };
  std::vector<uint32_t> bucket_of_;  // by rank
  std::vector<Bucket> buckets_;
  std::vector<uint32_t> free_;   // buckets without a rank
  std::vector<uint32_t> ranks_;  // that have a bucket: a heap, the lowest on top
};

// Joins in place: always the pair of lowest rank, of equals the leftmost, until none joins.
// Short pieces by scanning, long ones with a queue: O(n log n) for a piece of n symbols.
// Reuse one object for many pieces (it keeps its memory); one thread at a time.
class BpeMerger {
 public:
  explicit BpeMerger(const MergeTable& table) : table_(table) {}
  void merge(std::vector<int32_t>& symbols);

 private:
  void merge_short(std::vector<int32_t>& symbols);
  void merge_long(std::vector<int32_t>& symbols);
  void queue_pair(const std::vector<int32_t>& symbols, uint32_t at);
  void join(std::vector<int32_t>& symbols, uint32_t at, uint32_t rank);

  const MergeTable& table_;
  std::vector<uint32_t> ranks_;  // of the pair that begins at a symbol
  std::vector<uint32_t> next_;   // the symbols still there, as a list
  std::vector<uint32_t> previous_;
  std::optional<PairQueue> queue_;  // made for the first long piece
};

}  // namespace upg::tokenizer
