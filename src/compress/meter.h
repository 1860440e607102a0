// Progress of a job over tensors: rates, time left, and the callback a few times a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "upg/compress.h"

namespace upg::compression {

class Meter {
 public:
  // Totals of the whole job. An element counts as done when every pass over it is.
  Meter(const ProgressCallback& callback, int64_t tensors, uint64_t elements);

  void begin(std::string_view tensor);
  // `done` of the current tensor's elements. Calls back when it is time; throws Error(kCancelled)
  // when the callback asks to stop.
  void tick(uint64_t done);
  // The tensor is finished: written with so many bytes.
  void end(uint64_t elements, uint64_t bytes, double relative_error);
  double seconds() const;  // since the start

 private:
  void report(uint64_t elements_done);

  using Clock = std::chrono::steady_clock;
  const ProgressCallback& callback_;
  Progress progress_;
  uint64_t finished_elements_ = 0;
  Clock::time_point start_;
  Clock::time_point last_;
};

}  // namespace upg::compression
