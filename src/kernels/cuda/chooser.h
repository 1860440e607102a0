// The host's side of choosing tokens: rows and changes brought to the device, memory kept.
#pragma once

#include <span>
#include <vector>

#include "kernels/cuda/choose.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/step_tables.h"

namespace upg::kernels::cuda {

class Chooser {
 public:
  Chooser(StepTables& tables, cudaStream_t stream) : tables_(tables), stream_(stream) {}

  // Queues the choice of a token for each row of logits; returns where the ids will be, in device
  // memory, valid until the next call.
  const int32_t* choose(float* logits, int64_t vocabulary, std::span<const TokenChoice> choices);
  int launches() const noexcept { return launches_; }  // of the last call

 private:
  ChoiceStages plan(int64_t vocabulary, std::span<const TokenChoice> choices);
  template <class T>
  const T* send(const std::vector<T>& values);

  StepTables& tables_;
  cudaStream_t stream_;
  std::vector<ChoiceRow> rows_;
  std::vector<LogitChange> changes_;
  DeviceArray states_, before_, ids_;
  int launches_ = 0;
};

}  // namespace upg::kernels::cuda
