// A copy of the step's batch, since the caller's arrays may be gone after begin_step(), and the
// rotary tables of its tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "kernels/backend.h"
#include "kernels/scratch.h"

namespace upg::kernels {

class StepState {
 public:
  void begin(const StepBatch& batch, base::ThreadTeam& team);

  int tokens() const noexcept { return static_cast<int>(ids_.size()); }
  const std::vector<int32_t>& ids() const noexcept { return ids_; }
  const std::vector<SequenceSlice>& sequences() const noexcept { return sequences_; }
  const SequenceSlice& sequence_of(int token) const noexcept {
    return sequences_[static_cast<size_t>(owner_[static_cast<size_t>(token)])];
  }

  int rotary_dims() const noexcept { return static_cast<int>(2 * half_); }
  const float* cos(int token) const noexcept { return cos_.data() + token * half_; }
  const float* sin(int token) const noexcept { return sin_.data() + token * half_; }

 private:
  void copy_sequences(const StepBatch& batch);
  void make_rotary_tables(const StepBatch& batch, base::ThreadTeam& team);

  std::vector<int32_t> ids_;
  std::vector<int32_t> owner_;  // [tokens]: index into sequences_
  std::vector<int32_t> pages_;  // of all sequences, one after the other
  std::vector<SequenceSlice> sequences_;
  int64_t half_ = 0;    // rotary pairs a head
  Scratch<float> cos_;  // [tokens, half]
  Scratch<float> sin_;
};

}  // namespace upg::kernels
