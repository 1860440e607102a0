#include "constrain/machine.h"

#include <algorithm>

#include "base/check.h"
#include "upg/error.h"

namespace upg::constrain {
namespace {

// What a machine may remember before another takes its place, and the most while one mask is made.
constexpr size_t kFullEntries = size_t{1} << 19;
constexpr size_t kMostEntries = size_t{1} << 22;
constexpr size_t kMaxMasks = 64;  // 25 KB each for a vocabulary of 200,000

[[noreturn]] void too_ambiguous() {
  throw Error(ErrorCode::kUsage,
              "the schema is too ambiguous to be followed (alternatives that begin alike make it)");
}

uint64_t mixed(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

}  // namespace

Machine::Machine(const Program& program)
    : program_(&program), classes_(static_cast<size_t>(program.classes)) {
  stacks_.emplace_back();
  const StateId dead = number_found();
  UPG_CHECK(dead == kDead);
  for (size_t i = 0; i < classes_; ++i) steps_[i] = static_cast<int32_t>(kDead);
  reach(program.start, 0);
  follow_pending();
  start_ = number_found();
}

bool Machine::is_full() const noexcept {
  return steps_.size() > kFullEntries || ways_.size() > kFullEntries;
}

// ---- one search

void Machine::reach(Label at, uint32_t stack) {
  const Instruction& instruction = program_->code[at];
  // A way that cannot be brought to an end any more is none.
  if (stacks_[stack].depth + instruction.need > kMaxDepth) return;
  if (seen_.insert(at, stack)) pending_.push_back({at, stack});
}

void Machine::follow_pending() {
  while (!pending_.empty()) {
    const Way way = pending_.back();
    pending_.pop_back();
    if (++work_ > kMaxWork || found_.size() > kMaxWays) {
      forget_search();
      too_ambiguous();
    }
    follow(way);
  }
}

void Machine::follow(Way way) {
  const Instruction& at = program_->code[way.at];
  switch (at.op) {
    case Op::kByte:
      return found_.push_back(way);
    case Op::kSplit:
      reach(at.other, way.stack);
      return reach(at.next, way.stack);
    case Op::kJump:
      return reach(at.next, way.stack);
    case Op::kCall:
      return enter(at, way.stack);
    case Op::kAccept:
      return leave(way.stack);
    case Op::kFail:
      return;
  }
}

void Machine::enter(const Instruction& call, uint32_t stack) {
  const Instruction& back = program_->code[call.next];
  if (back.op == Op::kAccept) return reach(call.other, stack);  // nothing to come back for
  const int depth = stacks_[stack].depth;
  if (depth + back.need > kMaxDepth || depth + 1 + program_->code[call.other].need > kMaxDepth) {
    return;
  }
  reach(call.other, push(call.next, stack));
}

void Machine::leave(uint32_t stack) {
  if (stack == 0) {
    found_accepting_ = true;
  } else {
    reach(stacks_[stack].back, stacks_[stack].rest);
  }
}

uint32_t Machine::push(Label back, uint32_t rest) {
  const auto [slot, is_new] = stack_numbers_.try_emplace(uint64_t{back} << 32 | rest, 0);
  if (is_new) {
    slot->second = static_cast<uint32_t>(stacks_.size());
    stacks_.push_back({back, rest, stacks_[rest].depth + 1});
  }
  return slot->second;
}

// The state of what was found, which is forgotten.
StateId Machine::number_found() {
  std::sort(found_.begin(), found_.end());
  uint64_t hash = found_accepting_ ? 1 : 0;
  for (const Way& way : found_) hash = mixed(hash, uint64_t{way.at} << 32 | way.stack);
  StateId id = 0;
  bool known = false;
  const auto [first, last] = state_numbers_.equal_range(hash);
  for (auto it = first; it != last && !known; ++it) {
    const State& state = states_[id = it->second];
    known = state.accepting == found_accepting_ && state.count == found_.size() &&
            std::equal(found_.begin(), found_.end(), ways_.begin() + state.begin);
  }
  if (!known) {
    id = add_state();
    state_numbers_.emplace(hash, id);
  }
  forget_search();
  return id;
}

void Machine::forget_search() {
  pending_.clear();
  found_.clear();
  found_accepting_ = false;
  seen_.clear();
}

StateId Machine::add_state() {
  if (steps_.size() > kMostEntries || ways_.size() > kMostEntries) {
    forget_search();
    too_ambiguous();
  }
  const auto begin = static_cast<uint32_t>(ways_.size());
  states_.push_back({begin, static_cast<uint32_t>(found_.size()), found_accepting_});
  ways_.insert(ways_.end(), found_.begin(), found_.end());
  steps_.resize(steps_.size() + classes_, -1);
  return static_cast<StateId>(states_.size() - 1);
}

StateId Machine::find_step(StateId state, uint8_t byte) {
  const State from = states_[state];
  for (uint32_t i = from.begin; i < from.begin + from.count; ++i) {
    const Way way = ways_[i];
    const Instruction& at = program_->code[way.at];
    if (at.low <= byte && byte <= at.high) reach(at.next, way.stack);
  }
  follow_pending();
  const StateId to = number_found();
  steps_[state * classes_ + program_->byte_class[byte]] = static_cast<int32_t>(to);
  return to;
}

// ---- moving to another machine

StateId Machine::adopt(const Machine& from, StateId state) {
  const State& old = from.states_[state];
  for (uint32_t i = old.begin; i < old.begin + old.count; ++i) {
    const Way& way = from.ways_[i];
    found_.push_back({way.at, adopt_stack(from, way.stack)});
  }
  found_accepting_ = old.accepting;
  return number_found();
}

uint32_t Machine::adopt_stack(const Machine& from, uint32_t stack) {
  if (stack == 0) return 0;
  const Stack& old = from.stacks_[stack];
  return push(old.back, adopt_stack(from, old.rest));  // kMaxDepth deep
}

// ---- masks

std::shared_ptr<const TokenMask> Machine::mask(StateId state,
                                               const std::shared_ptr<const TokenTable>& table) {
  if (table_ != table) {
    masks_.clear();
    table_ = table;
  }
  const auto known = masks_.find(state);
  if (known != masks_.end()) return known->second;
  auto made = make_mask(state, *table);
  if (masks_.size() >= kMaxMasks) masks_.clear();
  masks_.emplace(state, made);
  return made;
}

// Over the sorted tokens: what a token shares with the one before it is not read again, and a
// beginning that was refused once refuses all tokens that share it.
std::shared_ptr<const TokenMask> Machine::make_mask(StateId state, const TokenTable& table) {
  work_ = 0;
  auto mask = std::make_shared<TokenMask>((static_cast<size_t>(table.size()) + 63) / 64);
  std::vector<StateId> path{state};  // the state behind each byte of the token before
  for (size_t rank = 0; rank < table.sorted_size(); ++rank) {
    const size_t shared = table.shared_prefix(rank);
    if (shared >= path.size()) continue;
    const std::string_view piece = table.sorted_piece(rank);
    path.resize(shared + 1);
    StateId at = path.back();
    for (size_t i = shared; i < piece.size(); ++i) {
      at = step(at, static_cast<uint8_t>(piece[i]));
      if (at == kDead) break;
      path.push_back(at);
    }
    if (at == kDead) continue;
    const auto id = static_cast<size_t>(table.sorted_id(rank));
    (*mask)[id / 64] |= uint64_t{1} << (id % 64);
  }
  return mask;
}

}  // namespace upg::constrain
