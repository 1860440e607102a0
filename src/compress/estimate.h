// How long a compression will take on this machine.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/plan.h"

namespace upg::compression {

// Seconds for one tensor.
struct TensorCost {
  double forward = 0;  // the calibration text through the layers, up to its inputs
  double moments = 0;  // what calibrated coding needs to know of them
  double coding = 0;   // reading, coding, writing
  double before() const noexcept { return forward + moments; }
  double total() const noexcept { return forward + moments + coding; }
};

// One a tensor of the plan: the encoders of its codecs measured on a little Gaussian data with the
// plan's threads (a few tenths of a second in all), calibration as calibration_cost.h has it,
// reading and writing at an assumed 500 MB/s.
std::vector<TensorCost> estimate_costs(const Plan& plan, const CompressOptions& options);

// Of all tensors, and of the choice of codecs where there is one to make.
double estimate_seconds(const Plan& plan, const CompressOptions& options);

// Close enough to Gaussian for timing: fixed numbers.
std::vector<float> gaussian_like(int64_t count);

}  // namespace upg::compression
