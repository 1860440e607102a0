// Which codec each matrix gets, so that a target is met with the least loss: sensitivities are
// measured on the calibration text (compress/sensitivity.h), bits spent by them
// (compress/bit_plan.h), and the outcome may be kept in a plan file.
//
// Targets: of the profile 10x, layers at most kLayerBits on average (overheads counted as at 5,120
// columns); of --ratio and --bits, the size of the whole file.
#pragma once

#include <filesystem>

#include "base/threads.h"
#include "compress/plan.h"
#include "upg/compress.h"

namespace upg::compression {

inline constexpr double kLayerBits = 3.12;

// Whether these options leave codecs open that choose_codecs() decides on. Throws Error(kUsage) for
// targets that contradict each other, the profile, or are out of range.
bool chooses_codecs(const Plan& plan, const CompressOptions& options);

// Decides: from options.plan_file where that exists, else by measuring (then options.plan_file, if
// given, is written). Matrices that --tensor names keep what it says. plan.summary is brought up to
// date. folder: where streams go that do not fit memory. Throws Error: kUsage when the target
// cannot be met, naming the nearest that can; kInvalidData for a plan of another model; what
// measure_sensitivities() throws.
void choose_codecs(Plan& plan, const CompressOptions& options, const std::filesystem::path& folder,
                   const ProgressCallback& progress);

// What choose_codecs() would come to in size, from the shapes alone; which matrices get which codec
// is not known without measuring.
void guess_codecs(Plan& plan, const CompressOptions& options);

}  // namespace upg::compression
