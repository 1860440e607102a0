#include "kernels/step_state.h"

#include <cmath>

#include "base/check.h"

namespace upg::kernels {
namespace {

constexpr int64_t kTableGrain = 16;  // tokens a thread takes at least

}  // namespace

void StepState::begin(const StepBatch& batch, base::ThreadTeam& team) {
  UPG_CHECK(static_cast<size_t>(batch.tokens) == batch.ids.size());
  UPG_CHECK(batch.ropes.size() == batch.sequences.size());
  ids_.assign(batch.ids.begin(), batch.ids.end());
  copy_sequences(batch);
  make_rotary_tables(batch, team);
}

void StepState::copy_sequences(const StepBatch& batch) {
  sequences_.assign(batch.sequences.begin(), batch.sequences.end());
  owner_.clear();
  pages_.clear();
  size_t pages = 0;
  for (const SequenceSlice& slice : sequences_) pages += slice.pages.size();
  pages_.reserve(pages);  // so that the spans below stay valid
  for (SequenceSlice& slice : sequences_) {
    UPG_CHECK(slice.first == static_cast<int>(owner_.size()) && slice.tokens >= 0);
    UPG_CHECK(static_cast<int64_t>(slice.pages.size()) * kPageTokens >= slice.past + slice.tokens);
    const size_t begin = pages_.size();
    pages_.insert(pages_.end(), slice.pages.begin(), slice.pages.end());
    slice.pages = std::span(pages_).subspan(begin);
    owner_.insert(owner_.end(), static_cast<size_t>(slice.tokens),
                  static_cast<int32_t>(&slice - sequences_.data()));
  }
  UPG_CHECK(owner_.size() == ids_.size());
}

// Angles in float32, as transformers computes them: at large positions a double would turn further.
void StepState::make_rotary_tables(const StepBatch& batch, base::ThreadTeam& team) {
  half_ = batch.ropes.empty() ? 0 : static_cast<int64_t>(batch.ropes[0]->inv_freq.size());
  for (const Rope* rope : batch.ropes) {
    UPG_CHECK(static_cast<int64_t>(rope->inv_freq.size()) == half_);
  }
  float* cos = cos_.reserve(tokens() * half_);
  float* sin = sin_.reserve(tokens() * half_);
  team.for_ranges(tokens(), kTableGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t token = begin; token < end; ++token) {
      const int32_t owner = owner_[static_cast<size_t>(token)];
      const SequenceSlice& slice = sequences_[static_cast<size_t>(owner)];
      const Rope& rope = *batch.ropes[static_cast<size_t>(owner)];
      const auto position = static_cast<float>(slice.past + token - slice.first);
      for (int64_t i = 0; i < half_; ++i) {
        const float angle = position * rope.inv_freq[static_cast<size_t>(i)];
        cos[token * half_ + i] = std::cos(angle) * rope.scale;
        sin[token * half_ + i] = std::sin(angle) * rope.scale;
      }
    }
  });
}

}  // namespace upg::kernels
