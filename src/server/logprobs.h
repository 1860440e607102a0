// Probabilities as clients ask for them: of the raw softmax, before every sampler.
#pragma once

#include <span>

#include "server/generation.h"

namespace upg::server {

// logits: [vocabulary]. top: how many of the likeliest beside the token's own; of equal ones those
// with the lowest ids.
TokenLogprob token_logprob(std::span<const float> logits, int32_t id, int top);

}  // namespace upg::server
