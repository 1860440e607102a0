// What a checkpoint's generation_config.json says about sampling.
#pragma once

#include <string_view>

#include "upg/engine.h"

namespace upg::runtime {

// SamplingOptions with what the file sets in their place: temperature, top_k (0 or -1: off), top_p,
// min_p, repetition_penalty (over the whole context, as its writers mean it). `do_sample: false`
// makes it greedy; where do_sample is missing the other fields hold, and so do our defaults where
// they are missing too (Phi-4's file names token ids only). An empty text sets nothing. Throws
// Error(kInvalidData) naming file and field.
SamplingOptions sampling_defaults(std::string_view generation_config_json, std::string_view file);

}  // namespace upg::runtime
