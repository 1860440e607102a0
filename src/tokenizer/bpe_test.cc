#include "tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace upg::tokenizer {
namespace {

// The definition: the pair of lowest rank, of equals the leftmost, until none joins.
std::vector<int32_t> merged_plainly(const MergeTable& table, std::vector<int32_t> symbols) {
  while (true) {
    size_t best = symbols.size();
    uint32_t best_rank = MergeTable::kNone;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const uint32_t rank = table.rank(symbols[i], symbols[i + 1]);
      if (rank < best_rank) {
        best = i;
        best_rank = rank;
      }
    }
    if (best_rank == MergeTable::kNone) return symbols;
    symbols[best] = table.result(best_rank);
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

// Merges in any order: also such that a pair of lower rank appears late.
std::vector<Merge> random_merges(std::mt19937_64& random, int32_t letters, int32_t count) {
  std::vector<Merge> merges;
  for (int32_t i = 0; i < count; ++i) {
    const auto pick = [&] { return static_cast<int32_t>(random() % (letters + i)); };
    merges.push_back({pick(), pick(), letters + i});
  }
  std::shuffle(merges.begin(), merges.end(), random);
  return merges;
}

TEST(Bpe, ShortAndLongPiecesAsDefined) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 60; ++round) {
    const int32_t letters = 2 + static_cast<int32_t>(random() % 4);
    const MergeTable table(random_merges(random, letters, 40));
    BpeMerger merger(table);
    for (const size_t size : {0, 1, 2, 3, 10, 47, 48, 49, 200, 700}) {
      std::vector<int32_t> symbols(size);
      for (int32_t& symbol : symbols) symbol = static_cast<int32_t>(random() % letters);
      const std::vector<int32_t> expected = merged_plainly(table, symbols);
      merger.merge(symbols);
      EXPECT_EQ(symbols, expected);
    }
  }
}

TEST(Bpe, OfAPairTwiceTheLaterCounts) {
  const std::vector<Merge> merges{{0, 1, 4}, {1, 2, 5}, {0, 1, 4}};
  const MergeTable table(merges);
  EXPECT_EQ(table.rank(0, 1), 2u);
  std::vector<int32_t> symbols{0, 1, 2};
  BpeMerger(table).merge(symbols);
  EXPECT_EQ(symbols, (std::vector<int32_t>{0, 5}));
}

TEST(Bpe, NoMerges) {
  const MergeTable table({});
  std::vector<int32_t> symbols(100, 3);
  BpeMerger(table).merge(symbols);
  EXPECT_EQ(symbols.size(), 100u);
}

}  // namespace
}  // namespace upg::tokenizer
