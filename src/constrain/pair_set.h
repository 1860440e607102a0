// A set of pairs of numbers that is cleared in no time: what one search has already seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace upg::constrain {

// Open addressing; an entry counts when its round is the current one.
class PairSet {
 public:
  void clear() {
    ++round_;
    count_ = 0;
  }
  // Whether it was not there.
  bool insert(uint32_t a, uint32_t b) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    const uint64_t key = uint64_t{a} << 32 | b;
    Slot& slot = find(key);
    if (slot.round == round_) return false;
    slot = {key, round_};
    ++count_;
    return true;
  }

 private:
  struct Slot {
    uint64_t key = 0;
    uint64_t round = 0;
  };

  Slot& find(uint64_t key) {
    const size_t last = slots_.size() - 1;
    size_t at = ((key * 0x9e3779b97f4a7c15u) >> 32) & last;
    while (slots_[at].round == round_ && slots_[at].key != key) at = (at + 1) & last;
    return slots_[at];
  }
  void grow() {
    const std::vector<Slot> old = std::exchange(slots_, {});
    slots_.resize(old.empty() ? 64 : 2 * old.size());
    for (const Slot& slot : old) {
      if (slot.round == round_) find(slot.key) = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two
  uint64_t round_ = 1;
  size_t count_ = 0;
};

}  // namespace upg::constrain
