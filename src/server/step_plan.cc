#include "server/step_plan.h"

#include <algorithm>
#include <numeric>

namespace upg::server {

std::vector<int> StepPlanner::plan(std::span<const int> pending, const StepBudget& budget) {
  std::vector<int> granted(pending.size(), 0);
  int room = budget.tokens;
  for (size_t i = 0; i < pending.size() && room > 0; ++i) {
    if (pending[i] != 1) continue;
    granted[i] = 1;
    --room;
  }
  room = std::min(room, budget.prompt_tokens);
  if (short_ones_turn_ && give_to_short(pending, room, granted)) {
    short_ones_turn_ = false;
  } else {
    give_to_oldest(pending, room, granted);
    short_ones_turn_ = true;
  }
  return granted;
}

// True when a longer prompt has to wait for it.
bool StepPlanner::give_to_short(std::span<const int> pending, int room, std::vector<int>& granted) {
  std::vector<size_t> order(pending.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return pending[a] < pending[b]; });
  bool any = false;
  for (const size_t i : order) {
    if (pending[i] == 1) continue;
    if (pending[i] > room) return any;
    granted[i] = pending[i];
    room -= pending[i];
    any = true;
  }
  return any;
}

void StepPlanner::give_to_oldest(std::span<const int> pending, int room,
                                 std::vector<int>& granted) {
  for (size_t i = 0; i < pending.size() && room > 0; ++i) {
    if (pending[i] == 1) continue;
    granted[i] = std::min(room, pending[i]);
    room -= granted[i];
  }
}

}  // namespace upg::server
