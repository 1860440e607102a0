#include "runtime/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/check.h"
#include "upg/error.h"

namespace upg::runtime {
namespace {

using Candidate = Sampler::Candidate;
using kernels::LogitChange;

constexpr float kLargest = std::numeric_limits<float>::max();

// Written so that NaN fails.
void check_range(std::string_view name, double value, double low, double high,
                 std::string_view allowed) {
  if (value >= low && value <= high) return;
  throw Error(ErrorCode::kUsage, fmt::format("{}: found {}, allowed {}", name, value, allowed));
}

void check_bias(const std::pair<int32_t, float>& bias, int vocabulary) {
  const auto [id, value] = bias;
  check_range("logit_bias token", id, 0, vocabulary - 1, fmt::format("0 to {}", vocabulary - 1));
  if (value == -std::numeric_limits<float>::infinity()) return;
  check_range("logit_bias", value, -kLargest, kLargest, "a finite number or -infinity");
}

bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

bool lower_id(const Candidate& a, const Candidate& b) { return a.id < b.id; }

[[noreturn]] void fail_logit(float value, size_t id) {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("the model's logit of token {}: found {}, allowed are finite numbers", id,
                          std::isnan(value) ? "NaN" : "infinity"));
}

void check_logits(std::span<const float> logits) {
  bool bad = false;
  for (const float logit : logits) bad |= !(logit <= kLargest);
  if (!bad) return;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (!(logits[id] <= kLargest)) fail_logit(logits[id], id);
  }
}

uint64_t mix(uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

const Candidate& draw(std::span<const Candidate> candidates, double u) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  const Candidate* last = nullptr;
  double sum = 0;
  for (const Candidate& candidate : candidates) {
    sum += candidate.weight;
    if (candidate.weight > 0) last = &candidate;
    if (sum > u * total) break;
  }
  UPG_CHECK(last != nullptr);  // the largest logit has weight 1
  return *last;
}

}  // namespace

void check_sampling(const SamplingOptions& options, int vocabulary) {
  check_range("temperature", options.temperature, 0, kLargest, "0 or above, finite");
  check_range("top_k", options.top_k, 0, INT32_MAX, "0 or above");
  check_range("top_p", options.top_p, 0, 1, "0 to 1");
  check_range("min_p", options.min_p, 0, 1, "0 to 1");
  check_range("repeat_penalty", options.repeat_penalty, std::numeric_limits<float>::min(), kLargest,
              "above 0, finite");
  check_range("repeat_last_n", options.repeat_last_n, -1, INT32_MAX, "-1 or above");
  check_range("presence_penalty", options.presence_penalty, -kLargest, kLargest, "a finite number");
  check_range("frequency_penalty", options.frequency_penalty, -kLargest, kLargest,
              "a finite number");
  for (const auto& bias : options.logit_bias) check_bias(bias, vocabulary);
}

uint64_t uniform_bits(uint64_t seed, uint64_t n) noexcept {
  return mix(mix(seed) + (n + 1) * 0x9e3779b97f4a7c15u) >> 11;
}

double uniform(uint64_t seed, uint64_t n) noexcept {
  return static_cast<double>(uniform_bits(seed, n)) * 0x1p-53;
}

Sampler::Sampler(const SamplingOptions& options, int vocabulary)
    : options_(options), vocabulary_(static_cast<size_t>(vocabulary)) {
  check_sampling(options, vocabulary);
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> history) {
  const int32_t id = next_sample(logits, history);
  skip_draw();
  return id;
}

int32_t Sampler::next_sample(std::span<const float> logits, std::span<const int32_t> history) {
  return draw(candidates(logits, history), uniform(options_.seed, drawn_)).id;
}

std::span<const Candidate> Sampler::candidates(std::span<const float> logits,
                                               std::span<const int32_t> history) {
  UPG_CHECK(logits.size() == vocabulary_);
  check_logits(logits);
  list_changes(history);
  if (!changes_.empty()) logits = changed(logits);
  const size_t top_k = static_cast<size_t>(options_.temperature == 0 ? 1 : options_.top_k);
  if (top_k == 0 || top_k >= logits.size()) {
    keep_all(logits);
  } else {
    keep_largest(logits, top_k);
  }
  if (candidates_.empty()) {
    throw Error(ErrorCode::kInvalidData, "no token is left to draw: every logit is -infinity");
  }
  if (candidates_.size() == 1) {
    candidates_[0].weight = 1;
  } else {
    keep_probable();
  }
  return candidates_;
}

// ---- penalties and bias -------------------------------------------------------------------------

void Sampler::list_changes(std::span<const int32_t> history) {
  changes_.clear();
  list_penalties(history);
  for (const auto& [id, bias] : options_.logit_bias) changes_.push_back({id, 1, bias});
  const auto lower = [](const LogitChange& a, const LogitChange& b) { return a.id < b.id; };
  std::stable_sort(changes_.begin(), changes_.end(), lower);
}

void Sampler::list_penalties(std::span<const int32_t> history) {
  const bool penalties = options_.repeat_penalty != 1 || options_.presence_penalty != 0 ||
                         options_.frequency_penalty != 0;
  if (!penalties) return;
  const size_t window =
      options_.repeat_last_n < 0 ? history.size() : static_cast<size_t>(options_.repeat_last_n);
  const auto recent = history.last(std::min(window, history.size()));
  recent_.assign(recent.begin(), recent.end());
  std::sort(recent_.begin(), recent_.end());
  for (auto at = recent_.begin(); at != recent_.end();) {
    const auto next = std::upper_bound(at, recent_.end(), *at);
    const double penalty = double{options_.frequency_penalty} * static_cast<double>(next - at) +
                           options_.presence_penalty;
    const double add = std::clamp<double>(-penalty, -kLargest, kLargest);
    UPG_CHECK(*at >= 0 && static_cast<size_t>(*at) < vocabulary_);
    changes_.push_back({*at, options_.repeat_penalty, static_cast<float>(add)});
    at = next;
  }
}

std::span<const float> Sampler::changed(std::span<const float> logits) {
  logits_.assign(logits.begin(), logits.end());
  for (const LogitChange& one : changes_) change(one);
  return logits_;
}

void Sampler::change(const LogitChange& change) {
  float& logit = logits_[static_cast<size_t>(change.id)];
  const float scaled = logit > 0 ? logit / change.penalty : logit * change.penalty;
  if (logit >= -kLargest) logit = std::clamp(scaled, -kLargest, kLargest);
  const bool ruled_out = logit < -kLargest || change.add < -kLargest;
  logit = ruled_out ? -std::numeric_limits<float>::infinity()
                    : std::clamp(logit + change.add, -kLargest, kLargest);
}

kernels::TokenChoice Sampler::choice(std::span<const int32_t> history) {
  list_changes(history);
  kernels::TokenChoice choice;
  choice.temperature = options_.temperature;
  choice.top_k = options_.top_k;
  choice.top_p = options_.top_p;
  choice.min_p = options_.min_p;
  choice.draw = uniform_bits(options_.seed, drawn_);
  choice.changes = changes_;
  return choice;
}

// ---- top-k --------------------------------------------------------------------------------------

namespace {

constexpr size_t kBlock = 64;  // logits that are looked at as one

// Lane by lane, which compilers turn into vector instructions; the logits are no NaN.
float largest_of_block(const float* logits) noexcept {
  constexpr size_t kLanes = 16;
  float lanes[kLanes];
  std::copy_n(logits, kLanes, lanes);
  for (size_t i = kLanes; i < kBlock; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = logits[i + lane] > lanes[lane] ? logits[i + lane] : lanes[lane];
    }
  }
  return *std::max_element(lanes, lanes + kLanes);
}

}  // namespace

// The largest of every block; then a bound that at least `count` logits reach, because so many
// blocks do. Few others reach it, so that nearly all of a large vocabulary is looked at once.
void Sampler::keep_largest(std::span<const float> logits, size_t count) {
  block_largest_.clear();
  for (size_t first = 0; first < logits.size(); first += kBlock) {
    const size_t size = std::min(kBlock, logits.size() - first);
    block_largest_.push_back(size == kBlock
                                 ? largest_of_block(&logits[first])
                                 : *std::max_element(&logits[first], &logits[first] + size));
  }
  const float bound = std::max(reached_by(count), -kLargest);
  candidates_.clear();
  for (size_t block = 0; block < block_largest_.size(); ++block) {
    if (block_largest_[block] < bound) continue;
    const size_t end = std::min((block + 1) * kBlock, logits.size());
    for (size_t id = block * kBlock; id < end; ++id) {
      if (logits[id] >= bound) candidates_.push_back({static_cast<int32_t>(id), logits[id], 0});
    }
  }
  if (candidates_.size() <= count) return;
  const auto last = candidates_.begin() + static_cast<ptrdiff_t>(count);
  std::nth_element(candidates_.begin(), last, candidates_.end(), better);
  candidates_.erase(last, candidates_.end());
  std::sort(candidates_.begin(), candidates_.end(), lower_id);
}

// The largest value that at least `count` blocks reach; -infinity where there are fewer blocks.
float Sampler::reached_by(size_t count) {
  if (block_largest_.size() < count) return -std::numeric_limits<float>::infinity();
  sorted_largest_ = block_largest_;
  const auto at = sorted_largest_.begin() + static_cast<ptrdiff_t>(count) - 1;
  std::nth_element(sorted_largest_.begin(), at, sorted_largest_.end(), std::greater<>());
  return *at;
}

void Sampler::keep_all(std::span<const float> logits) {
  candidates_.clear();
  for (size_t id = 0; id < logits.size(); ++id) {
    if (logits[id] < -kLargest) continue;
    candidates_.push_back({static_cast<int32_t>(id), logits[id], 0});
  }
}

// ---- top-p, min-p, temperature ------------------------------------------------------------------

void Sampler::keep_probable() {
  const float largest = std::min_element(candidates_.begin(), candidates_.end(), better)->logit;
  double total = 0;
  for (Candidate& candidate : candidates_) {
    candidate.weight = std::exp(double{candidate.logit} - largest);
    total += candidate.weight;
  }
  // Both filters keep a run of the largest, so min-p may go first: it leaves less to sort. The sum
  // that top-p takes its share of is that of before.
  std::erase_if(candidates_,
                [this](const Candidate& c) { return c.weight < double{options_.min_p}; });
  if (options_.top_p < 1) keep_top_p(total);
  if (!std::is_sorted(candidates_.begin(), candidates_.end(), lower_id)) {
    std::sort(candidates_.begin(), candidates_.end(), lower_id);
  }
  for (Candidate& candidate : candidates_) {
    candidate.weight = std::exp((double{candidate.logit} - largest) / double{options_.temperature});
  }
}

// The best [0, low) weigh too little, the best [0, high) enough. Halving what lies between costs no
// more than a few looks at each candidate, where sorting all of a flat distribution would.
void Sampler::keep_top_p(double total) {
  const auto at = [this](size_t i) { return candidates_.begin() + static_cast<ptrdiff_t>(i); };
  constexpr size_t kFirstLook = 256;  // mostly enough
  size_t low = 0;
  size_t high = candidates_.size();
  double below = 0;  // weight of [0, low)
  while (high - low > 1) {
    const size_t half = low + (high - low) / 2;
    const size_t middle = low == 0 ? std::min(half, kFirstLook) : half;
    std::nth_element(at(low), at(middle), at(high), better);
    double sum = below;
    for (size_t i = low; i < middle; ++i) sum += candidates_[i].weight;
    if (sum >= double{options_.top_p} * total) {
      high = middle;
    } else {
      low = middle;
      below = sum;
    }
  }
  candidates_.resize(high);
}

}  // namespace upg::runtime
