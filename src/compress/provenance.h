// What a file says of how it was made: the metadata `compression` (docs/format.md), and what a job
// must have in common with an interrupted one to go on with it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/journal.h"
#include "compress/plan.h"
#include "compress/source_hash.h"
#include "upg/compress.h"

namespace upg::compression {

struct CalibrationFacts {
  std::string text;  // the file's name without its folder, or "default"
  std::string text_hash;
  int windows = 0;
  int tokens = 0;  // a window
  // Not in the file: what else its codes depend on.
  std::string kernels;  // the table that computed the activations
  std::string blas;
  std::string coding;  // options and version of the coder
};

// What is known when all is coded. No times and no machine: the same job gives the same bytes.
struct Provenance {
  double relative_error = 0;  // of all matrices together
  std::string source;         // SourceHash::whole()
  std::optional<CalibrationFacts> calibration;
  struct Measure {
    std::string name;
    double relative_error = 0;
    std::optional<double> loss;  // |(t - q) x|^2 / |t x|^2 over the text, where calibrated
    std::optional<double> kl;    // as the plan expected it, where it was measured
  };
  std::vector<Measure> matrices;
};

// The text's name as the file keeps it.
std::string calibration_name(const CompressOptions& options);

// One with the most digits everywhere, for the size of the header.
Provenance widest_provenance(const Plan& plan, const CompressOptions& options);

// The metadata's JSON text.
std::string compression_text(const Plan& plan, const CompressOptions& options,
                             const Provenance& provenance);

// The measures of a file's `compression` text, by matrix. What other writers say there or leave out
// is passed over. Throws Error(kInvalidData) naming `file` when it is no JSON.
std::map<std::string, Provenance::Measure, std::less<>> read_measures(std::string_view compression,
                                                                      std::string_view file);

// Reads the whole checkpoint. `tick` as SourceHash has it.
JobFields job_fields(const Plan& plan, const CompressOptions& options,
                     const CalibrationFacts& calibration, SourceHash& source,
                     const std::function<void()>& tick);

}  // namespace upg::compression
