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

// The mean under P of p - q, each less its log_sum_exp: one exponential for each logit.
double kl_divergence(std::span<const float> p, std::span<const float> q) noexcept {
  const double top = *std::max_element(p.begin(), p.end());
  double sum = 0;
  double differences = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double weight = std::exp(p[i] - top);
    sum += weight;
    differences += weight * (static_cast<double>(p[i]) - q[i]);
  }
  return differences / sum - (top + std::log(sum) - log_sum_exp(q));
}

}  // namespace upg::base
