// Memory and disk that a compression takes, worked out from its plan.
#pragma once

#include <cstdint>

#include "compress/plan.h"

namespace upg::compression {

// Sets summary.peak_ram_bytes and disk_bytes, and whether activations stay in memory: with
// options.max_ram when all fits, else when they are not too many.
void estimate_needs(Plan& plan, const CompressOptions& options);

// Throws Error(kOutOfMemory) when options.max_ram is less than the plan needs.
void check_memory(const Plan& plan, const CompressOptions& options);

// Bytes of streams that choosing codecs (codec_choice.h) may keep in memory; more go to a file.
uint64_t streams_in_memory(const CompressOptions& options) noexcept;

// Two tracks of residual streams and attention outputs, of all windows.
uint64_t activation_bytes(const model::ModelConfig& config, int windows, int tokens) noexcept;

}  // namespace upg::compression
