// What calibration costs on this machine, in seconds, from a short measurement.
#pragma once

#include <vector>

#include "compress/plan.h"

namespace upg::compression {

struct CalibrationCost {
  double forward = 0;  // the text through both models, up to the inputs of the matrix
  double moments = 0;  // second moments of its inputs, and what coding makes of them
  double coding = 0;   // 0 for those that are not calibrated
};

// One a tensor of the plan. Measures for a few tenths of a second: products of the kernels and of
// BLAS, attention, factorisation, and the coder of each codec, at two widths where the cost is no
// multiple of the width.
std::vector<CalibrationCost> calibration_costs(const Plan& plan, const CompressOptions& options);

// Of so many tokens through one layer of one model.
double layer_seconds(const Plan& plan, double tokens);

}  // namespace upg::compression
