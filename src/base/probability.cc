#include "base/probability.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace upg::base {

double log_sum_exp(std::span<const float> logits) noexcept {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return top + std::log(sum);
}

double kl_divergence(std::span<const float> p, std::span<const float> q) noexcept {
  const double p_sum = log_sum_exp(p);
  const double q_sum = log_sum_exp(q);
  double kl = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_sum;
    kl += std::exp(log_p) * (log_p - (q[i] - q_sum));
  }
  return kl;
}

}  // namespace upg::base
