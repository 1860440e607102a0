// A program at work: texts are read with a deterministic automaton that is built while it is
// needed.
//
// A position in a text is the set of all (instruction, stack of returns) that the text may have led
// to. Such sets are numbered, and so are the steps from one to another, as a lazily built DFA does
// it for regular expressions: a text that was read before costs one look-up a byte.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "constrain/pair_set.h"
#include "constrain/program.h"
#include "constrain/token_table.h"

namespace upg::constrain {

using StateId = uint32_t;
inline constexpr StateId kDead = 0;

// What tokens may come next: a bit each, of the table's size.
using TokenMask = std::vector<uint64_t>;

// One thread at a time. Throws Error(kUsage) where a text can be read in more ways than kMaxWays at
// once, or one search takes more than kMaxWork steps: that happens to schemas made for it alone.
class Machine {
 public:
  static constexpr size_t kMaxWays = 4096;
  static constexpr int64_t kMaxWork = 1'000'000;

  explicit Machine(const Program& program);  // not owned

  StateId start() const noexcept { return start_; }
  StateId step(StateId state, uint8_t byte) {
    const int32_t known = steps_[state * classes_ + program_->byte_class[byte]];
    return known >= 0 ? static_cast<StateId>(known) : find_step(state, byte);
  }
  StateId read(StateId state, std::string_view bytes) {
    work_ = 0;
    for (size_t i = 0; i < bytes.size() && state != kDead; ++i) {
      state = step(state, static_cast<uint8_t>(bytes[i]));
    }
    return state;
  }
  bool accepts(StateId state) const noexcept { return states_[state].accepting; }
  bool goes_on(StateId state) const noexcept { return states_[state].count > 0; }

  // Whether so much is remembered that a new machine should go on in this one's place.
  bool is_full() const noexcept;
  // The same position in this machine. Both of the same program.
  StateId adopt(const Machine& from, StateId state);

  // The tokens of `table` that may come next.
  std::shared_ptr<const TokenMask> mask(StateId state,
                                        const std::shared_ptr<const TokenTable>& table);

 private:
  // A stack of returns: its top, and the rest. Number 0 is the empty one.
  struct Stack {
    Label back = 0;
    uint32_t rest = 0;
    int depth = 0;
  };
  struct Way {
    Label at;  // a kByte
    uint32_t stack;
    bool operator<(const Way& other) const {
      return at != other.at ? at < other.at : stack < other.stack;
    }
    bool operator==(const Way&) const = default;
  };
  struct State {
    uint32_t begin = 0;  // into ways_
    uint32_t count = 0;
    bool accepting = false;
  };

  StateId find_step(StateId state, uint8_t byte);
  void reach(Label at, uint32_t stack);
  void follow_pending();
  void follow(Way way);
  void enter(const Instruction& call, uint32_t stack);
  void leave(uint32_t stack);
  uint32_t push(Label back, uint32_t rest);
  uint32_t adopt_stack(const Machine& from, uint32_t stack);
  StateId number_found();
  void forget_search();
  StateId add_state();
  std::shared_ptr<const TokenMask> make_mask(StateId state, const TokenTable& table);

  const Program* program_;
  size_t classes_;
  StateId start_ = kDead;
  int64_t work_ = 0;

  std::vector<Stack> stacks_;
  std::unordered_map<uint64_t, uint32_t> stack_numbers_;
  std::vector<Way> ways_;
  std::vector<State> states_;
  std::unordered_multimap<uint64_t, StateId> state_numbers_;  // by hash
  std::vector<int32_t> steps_;                                // [states, classes]; -1: not known

  // What a search collects.
  std::vector<Way> found_;
  bool found_accepting_ = false;
  std::vector<Way> pending_;
  PairSet seen_;  // (instruction, stack)

  std::shared_ptr<const TokenTable> table_;  // which masks_ are of
  std::unordered_map<StateId, std::shared_ptr<const TokenMask>> masks_;
};

}  // namespace upg::constrain
