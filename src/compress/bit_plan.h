// Choosing one of several codings for each matrix so that a whole fits a budget with the least
// loss.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace upg::compression {

// One way to code a matrix. Sizes in any unit, the budget's; losses add up over matrices.
struct BitOption {
  double size = 0;
  double loss = 0;
};

// The ways to code one matrix, in any order, at least one.
using BitItem = std::vector<BitOption>;

// The index of an option for each item: the sizes add up to at most `budget`; nothing when even the
// smallest options do not fit. Greedy along the lower convex hulls (Shoham and Gersho 1988), then
// what is left is spent on single upgrades that still fit: the loss is the least possible for the
// size it comes to before that last step. Deterministic.
std::optional<std::vector<size_t>> choose_bits(std::span<const BitItem> items, double budget);

// The least and the most the options of all items can come to.
double least_size(std::span<const BitItem> items);
double most_size(std::span<const BitItem> items);

}  // namespace upg::compression
