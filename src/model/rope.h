// Rotary tables from what a config says: default, llama3 and longrope.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "model/architectures.h"
#include "model/fields.h"

namespace upg::model {

struct RopeTables {
  kernels::Rope rope;       // for a planned context of up to long_from tokens
  kernels::Rope long_rope;  // above; the same where there is no difference
  int64_t long_from = 0;    // 0: no difference
};

// Reads rope_theta and rope_scaling. rotary_dims: even, at least 2. max_positions: the model's
// context. Throws Error: kInvalidData for what is missing or out of range, kUnsupported for a kind
// of scaling, or a field in it, that the architecture's row does not know, by name.
//
// longrope has two sets of factors. transformers takes the long ones from the moment a sequence is
// longer than the original context, and then recomputes its cache; here a sequence's planned
// context decides at its start, so that keys in the cache always fit the queries that read them
// (docs/models.md).
RopeTables read_rope(const Fields& config, const Architecture& architecture, int rotary_dims,
                     int64_t max_positions);

}  // namespace upg::model
