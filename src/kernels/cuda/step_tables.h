// A step's batch: kept on the host (the caller's arrays may be gone after begin_step), brought to
// the device when the first operation asks for it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/runtime.h"

namespace upg::kernels::cuda {

class StepTables {
 public:
  explicit StepTables(cudaStream_t stream) : stream_(stream) {}

  void begin(const StepBatch& batch);
  const StepView& device();  // uploads on the first call after begin()
  // Copies a few numbers to the device; valid until the call after the next 3.
  const int32_t* send(const int32_t* from, size_t count);

  int tokens() const noexcept { return static_cast<int>(ids_.size()); }
  bool one_each() const noexcept { return one_each_; }  // every sequence has one token
  int longest() const noexcept { return longest_; }     // positions the longest token sees
  // Tokens that attention takes at once: many of one sequence, or of several sequences a few each.
  struct Run {
    int first;  // row of the step
    int tokens;
    int page_base;  // of one sequence: where in pages() it begins; -1 of several
    int longest;
  };
  const std::vector<Run>& runs() const noexcept { return runs_; }
  const std::vector<int32_t>& ids() const noexcept { return ids_; }
  const std::vector<int32_t>& positions() const noexcept { return positions_; }
  const std::vector<int32_t>& pages() const noexcept { return pages_; }
  const std::vector<float>& inv_freq() const noexcept { return inv_freq_; }  // tables, scales
  int half() const noexcept { return half_; }

 private:
  struct Slot {
    PinnedArray pinned;
    DeviceArray device;
    Event done;
  };
  void add_run(const SequenceSlice& slice, int page_base);
  int rope_table(const Rope& rope, std::vector<const Rope*>& known);

  cudaStream_t stream_;
  std::vector<int32_t> ids_, positions_, page_base_, tables_, pages_;
  std::vector<Run> runs_;
  std::vector<float> inv_freq_;
  int half_ = 0;
  int longest_ = 0;
  bool one_each_ = false;
  bool on_device_ = false;
  StepView view_ = {};
  DeviceArray rotary_;
  std::array<Slot, 4> slots_;
  size_t next_ = 0;
};

}  // namespace upg::kernels::cuda
