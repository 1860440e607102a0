// A choice of codecs as a JSON file: {"upg_plan": 1, "target": ..., "expected_kl": ...,
// "tensors": [{"name", "rows", "cols", "codec", "kl"}, ...]}, one entry for each matrix.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "compress/plan.h"

namespace upg::compression {

// Whole or not at all. Throws Error(kIo).
void write_plan(const std::filesystem::path& file, const Plan& plan, std::string_view target);

struct PlannedCodec {
  std::string codec;  // as --tensor names it
  double kl = 0;
};

// One entry a spec of the model, empty for vectors. Throws Error(kIo), Error(kInvalidData) naming
// the entry that is missing, unknown, of another shape or codec.
std::vector<PlannedCodec> read_plan(const std::filesystem::path& file, const SourceModel& model);

}  // namespace upg::compression
