// How long a compression will take on this machine.
#pragma once

#include "compress/plan.h"

namespace upg::compression {

// Seconds: the encoders of the plan's codecs measured on a little Gaussian data with the plan's
// threads (a few tenths of a second in all), and reading and writing at an assumed 500 MB/s.
double estimate_seconds(const Plan& plan);

}  // namespace upg::compression
