// Byte-pair encoding: joining neighbouring tokens by ranked merges.
#pragma once

#include <cstdint>
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

// Joins in place: always the pair of lowest rank, of equals the leftmost, until none joins.
// Short pieces by scanning, long ones with a heap: O(n log n) for a piece of n symbols.
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
  std::vector<uint64_t> heap_;  // rank << 32 | place, the lowest on top
};

}  // namespace upg::tokenizer
