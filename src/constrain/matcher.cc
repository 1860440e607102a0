#include "constrain/matcher.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "base/check.h"

namespace upg::constrain {

Matcher::Matcher(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTable> table)
    : grammar_(std::move(grammar)), table_(std::move(table)) {
  const std::lock_guard lock(grammar_->mutex_);
  machine_ = grammar_->machine();
  state_ = machine_->start();
  complete_ = machine_->accepts(state_);
}

void Matcher::move_to(const std::shared_ptr<Machine>& machine) const {
  if (machine == machine_) return;
  state_ = machine->adopt(*machine_, state_);
  machine_ = machine;
}

bool Matcher::allows(int32_t token) const {
  const std::string_view piece = table_->piece(token);
  if (piece.empty()) return false;
  const std::lock_guard lock(grammar_->mutex_);
  move_to(grammar_->machine());
  return machine_->read(state_, piece) != kDead;
}

void Matcher::advance(int32_t token) {
  const std::lock_guard lock(grammar_->mutex_);
  move_to(grammar_->machine());
  const StateId next = machine_->read(state_, table_->piece(token));
  UPG_CHECK(next != kDead && !table_->piece(token).empty());
  state_ = next;
  complete_ = machine_->accepts(state_);
  goes_on_ = machine_->goes_on(state_);
}

void Matcher::mask(std::span<float> logits, std::span<const int32_t> stop_ids) const {
  std::shared_ptr<const TokenMask> allowed;
  {
    const std::lock_guard lock(grammar_->mutex_);
    move_to(grammar_->machine());
    allowed = machine_->mask(state_, table_);
  }
  constexpr float kOut = -std::numeric_limits<float>::infinity();
  std::vector<std::pair<int32_t, float>> kept;
  for (const int32_t id : stop_ids) {
    if (complete_ && id >= 0 && static_cast<size_t>(id) < logits.size()) {
      kept.emplace_back(id, logits[static_cast<size_t>(id)]);
    }
  }
  for (size_t begin = 0; begin < logits.size(); begin += 64) {
    const uint64_t bits = begin / 64 < allowed->size() ? (*allowed)[begin / 64] : 0;
    const size_t end = std::min(begin + 64, logits.size());
    for (size_t id = begin; id < end && ~bits != 0; ++id) {
      logits[id] = (bits >> (id - begin) & 1) != 0 ? logits[id] : kOut;
    }
  }
  for (const auto& [id, logit] : kept) logits[static_cast<size_t>(id)] = logit;
}

}  // namespace upg::constrain
