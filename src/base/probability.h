// Distributions given by logits, in double.
#pragma once

#include <span>

namespace upg::base {

// log of the sum of exp(logit). Not empty.
double log_sum_exp(std::span<const float> logits) noexcept;

// Kullback-Leibler divergence of softmax(q) from softmax(p), in nats: sum of P (log P - log Q).
// Both of one length, not empty.
double kl_divergence(std::span<const float> p, std::span<const float> q) noexcept;

}  // namespace upg::base
