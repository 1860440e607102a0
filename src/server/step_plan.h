// Who takes part in the next step with how many tokens.
//
// Every sequence that writes goes on by its one token. What is left of the step is for prompts: in
// turns a step belongs to the short ones, those that fit into it as a whole, so that they need not
// wait for a long one, and a step to the oldest, so that no stream of short ones starves it.
#pragma once

#include <span>
#include <vector>

namespace upg::server {

struct StepBudget {
  int tokens = 512;         // that a step holds at most
  int prompt_tokens = 512;  // of them for prompts
};

class StepPlanner {
 public:
  // pending: tokens of each sequence that are not computed yet (at least 1), the oldest first.
  // Returns how many of them the step computes. One that has one pending token goes on with it.
  std::vector<int> plan(std::span<const int> pending, const StepBudget& budget);

 private:
  bool give_to_short(std::span<const int> pending, int room, std::vector<int>& granted);
  static void give_to_oldest(std::span<const int> pending, int room, std::vector<int>& granted);

  bool short_ones_turn_ = true;
};

}  // namespace upg::server
