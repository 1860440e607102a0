// Progress of a job over tensors: rates, time left, and the callback a few times a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "compress/estimate.h"
#include "upg/compress.h"

namespace upg::compression {

class Meter {
 public:
  using Costs = std::function<std::vector<TensorCost>()>;

  // Totals of the whole job. An element counts as done when every pass over it is. costs: asked for
  // once, when the job has lasted a while; without it every element costs the same.
  Meter(const ProgressCallback& callback, int64_t tensors, uint64_t elements, Costs costs = {});

  // The tensors come in the order of the costs. Calls back.
  void begin(std::string_view tensor);
  // That share of what comes before its coding is done. Calls back when it is time; throws
  // Error(kCancelled) when the callback asks to stop.
  void prepare(double share);
  // `done` of the current tensor's elements (of that many, where costs matter), the same.
  void tick(uint64_t done, uint64_t elements = 0);
  // The tensor is finished: written with so many bytes.
  void end(uint64_t elements, uint64_t bytes, double relative_error);
  double seconds() const;  // since the start

 private:
  using Clock = std::chrono::steady_clock;

  void report_in_time();
  void report();
  void ask_costs();
  double cost_done() const;

  const ProgressCallback& callback_;
  Costs ask_;
  std::vector<TensorCost> costs_;
  double total_cost_ = 0;
  double finished_cost_ = 0;
  Progress progress_;
  uint64_t finished_elements_ = 0;
  uint64_t elements_ = 0;  // done, of the tensor at hand
  double prepared_ = 0;    // shares of it
  double coded_ = 0;
  Clock::time_point start_;
  Clock::time_point last_;
};

}  // namespace upg::compression
