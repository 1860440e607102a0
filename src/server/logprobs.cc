#include "server/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/probability.h"

namespace upg::server {

TokenLogprob token_logprob(std::span<const float> logits, int32_t id, int top) {
  const double total = base::log_sum_exp(logits);
  const auto logprob = [&](int32_t token) {
    return static_cast<float>(logits[static_cast<size_t>(token)] - total);
  };
  TokenLogprob result;
  result.id = id;
  result.logprob = logprob(id);
  std::vector<std::pair<float, int32_t>> best;  // the least likely last
  const auto likelier = [](const auto& a, const auto& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  };
  const auto most = static_cast<size_t>(std::max(top, 0));
  for (size_t i = 0; i < logits.size() && most > 0; ++i) {
    const std::pair<float, int32_t> one(logits[i], static_cast<int32_t>(i));
    if (best.size() == most && !likelier(one, best.back())) continue;
    best.insert(std::upper_bound(best.begin(), best.end(), one, likelier), one);
    if (best.size() > most) best.pop_back();
  }
  for (const auto& [logit, token] : best) result.top.emplace_back(token, logprob(token));
  return result;
}

}  // namespace upg::server
