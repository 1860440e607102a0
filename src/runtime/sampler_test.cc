#include "runtime/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "upg/error.h"

namespace upg::runtime {
namespace {

using testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

SamplingOptions plain() {  // every stage off but the draw
  SamplingOptions options;
  options.temperature = 1;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  return options;
}

std::vector<float> random_logits(std::mt19937& random, int vocabulary, bool ties) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(static_cast<size_t>(vocabulary));
  for (float& logit : logits) {
    logit = normal(random);
    if (ties) logit = std::round(logit);
    if (random() % 16 == 0) logit = -kInfinity;
  }
  logits[random() % logits.size()] = 1;
  return logits;
}

// The chain as sampler.h words it, each stage on its own with full sorts, in double.
std::map<int32_t, double> naive(const SamplingOptions& options, const std::vector<float>& logits,
                                const std::vector<int32_t>& history) {
  std::vector<double> adjusted(logits.begin(), logits.end());
  const size_t n = history.size();
  const size_t window =
      options.repeat_last_n < 0 ? n : std::min(n, static_cast<size_t>(options.repeat_last_n));
  std::map<int32_t, int> counts;
  for (size_t i = n - window; i < n; ++i) ++counts[history[i]];
  for (const auto& [id, count] : counts) {
    double& logit = adjusted[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / options.repeat_penalty : logit * options.repeat_penalty;
    logit -= options.frequency_penalty * count + options.presence_penalty;
  }
  for (const auto& [id, bias] : options.logit_bias) adjusted[static_cast<size_t>(id)] += bias;

  std::vector<std::pair<double, int32_t>> left;  // best first
  for (size_t id = 0; id < adjusted.size(); ++id) {
    // The sampler works on float logits: equal ones must be equal here too.
    const float logit = static_cast<float>(adjusted[id]);
    if (logit > -kInfinity) left.emplace_back(logit, static_cast<int32_t>(id));
  }
  std::stable_sort(left.begin(), left.end(), [](auto& a, auto& b) { return a.first > b.first; });
  const double largest = left[0].first;
  if (options.top_k > 0) left.resize(std::min(left.size(), static_cast<size_t>(options.top_k)));
  double total = 0;
  for (const auto& entry : left) total += std::exp(entry.first - largest);
  if (options.top_p < 1) {
    double sum = 0;
    size_t keep = 0;
    while (keep < left.size() && (keep == 0 || sum < options.top_p * total)) {
      sum += std::exp(left[keep++].first - largest);
    }
    left.resize(keep);
  }
  std::map<int32_t, double> result;
  total = 0;
  for (const auto& [logit, id] : left) {
    if (std::exp(logit - largest) < options.min_p) continue;
    total += result[id] = std::exp((logit - largest) / options.temperature);
  }
  for (auto& [id, probability] : result) probability /= total;
  return result;
}

std::map<int32_t, double> chain(const SamplingOptions& options, const std::vector<float>& logits,
                                const std::vector<int32_t>& history) {
  Sampler sampler(options, static_cast<int>(logits.size()));
  double total = 0;
  std::map<int32_t, double> result;
  int32_t last = -1;
  for (const Sampler::Candidate& candidate : sampler.candidates(logits, history)) {
    EXPECT_GT(candidate.id, last);
    last = candidate.id;
    total += result[candidate.id] = candidate.weight;
  }
  for (auto& [id, probability] : result) probability /= total;
  return result;
}

void expect_same(const SamplingOptions& options, const std::vector<float>& logits,
                 const std::vector<int32_t>& history) {
  const auto wanted = naive(options, logits, history);
  const auto found = chain(options, logits, history);
  ASSERT_EQ(found.size(), wanted.size());
  for (const auto& [id, probability] : wanted) {
    ASSERT_TRUE(found.contains(id)) << id;
    EXPECT_NEAR(found.at(id), probability, 1e-5) << id;
  }
}

class Filters : public testing::Test {
 protected:
  // Calls set(options) before each of many random distributions, half of them full of ties.
  template <typename Set>
  void run(Set set) {
    std::mt19937 random(11);
    for (int round = 0; round < 120; ++round) {
      SamplingOptions options = plain();
      set(options, random);
      const int vocabulary = 1 + static_cast<int>(random() % 500);
      const auto logits = random_logits(random, vocabulary, round % 2 == 0);
      std::vector<int32_t> history(random() % 100);
      for (int32_t& id : history) id = static_cast<int32_t>(random() % logits.size());
      expect_same(options, logits, history);
      if (HasFatalFailure()) FAIL() << "round " << round;
    }
  }
  static float unit(std::mt19937& random) {
    return std::uniform_real_distribution<float>()(random);
  }
};

TEST_F(Filters, Nothing) {
  run([](SamplingOptions&, std::mt19937&) {});
}

TEST_F(Filters, TopK) {
  run([](SamplingOptions& o, std::mt19937& random) { o.top_k = static_cast<int>(random() % 60); });
}

TEST_F(Filters, TopP) {
  run([](SamplingOptions& o, std::mt19937& random) { o.top_p = unit(random); });
}

TEST_F(Filters, TopPOfNearlyFlatDistributions) {
  run([](SamplingOptions& o, std::mt19937& random) {
    o.repeat_penalty = 1000;  // what the history holds falls far behind; the rest is nearly flat
    o.top_p = 1 - 0.01f * unit(random);
  });
}

TEST_F(Filters, MinP) {
  run([](SamplingOptions& o, std::mt19937& random) { o.min_p = unit(random) * unit(random); });
}

TEST_F(Filters, Temperature) {
  run([](SamplingOptions& o, std::mt19937& random) { o.temperature = 0.05f + 3 * unit(random); });
}

TEST_F(Filters, Penalties) {
  run([](SamplingOptions& o, std::mt19937& random) {
    o.repeat_penalty = 0.5f + unit(random);
    o.presence_penalty = unit(random);
    o.frequency_penalty = unit(random) - 0.5f;
    o.repeat_last_n = static_cast<int>(random() % 40) - 1;
  });
}

TEST_F(Filters, Bias) {
  run([](SamplingOptions& o, std::mt19937& random) { o.logit_bias = {{0, 4 * unit(random)}}; });
}

TEST_F(Filters, EverythingAtOnce) {
  run([](SamplingOptions& o, std::mt19937& random) {
    o.repeat_penalty = 1.3f;
    o.presence_penalty = 0.4f;
    o.top_k = 1 + static_cast<int>(random() % 100);
    o.top_p = 0.5f + 0.5f * unit(random);
    o.min_p = 0.1f * unit(random);
    o.temperature = 0.5f + unit(random);
  });
}

TEST(Sampler, DrawsWhatTheDistributionSays) {
  const std::vector<float> logits = {0.5f, -1, 2, 1.25f, -kInfinity, 0, 1, -3};
  SamplingOptions options = plain();
  options.temperature = 0.8f;
  options.seed = 7;
  const auto wanted = naive(options, logits, {});
  Sampler sampler(options, static_cast<int>(logits.size()));
  const int draws = 200'000;
  std::map<int32_t, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler.sample(logits, {})];
  double chi_square = 0;
  for (const auto& [id, probability] : wanted) {
    const double expected = probability * draws;
    chi_square += (counts[id] - expected) * (counts[id] - expected) / expected;
  }
  EXPECT_FALSE(counts.contains(4));
  EXPECT_LT(chi_square, 22.46);  // 6 degrees of freedom, p = 0.001
  EXPECT_GT(chi_square, 0.38);   // nor suspiciously even
}

TEST(Sampler, SameSeedSameTokens) {
  std::mt19937 random(3);
  SamplingOptions options;
  options.temperature = 2;
  options.seed = 123;
  Sampler first(options, 100);
  Sampler second(options, 100);
  options.seed = 124;
  Sampler other(options, 100);
  int different = 0;
  for (int i = 0; i < 200; ++i) {
    const auto logits = random_logits(random, 100, false);
    const int32_t id = first.sample(logits, {});
    EXPECT_EQ(second.sample(logits, {}), id);
    different += other.sample(logits, {}) != id;
  }
  EXPECT_GT(different, 20);
}

// Values of the formula in sampler.h, computed apart from this code.
TEST(Sampler, TheStreamIsAsSpecified) {
  EXPECT_EQ(uniform(0, 0), 0x1.c4415072f63b9p-1);
  EXPECT_EQ(uniform(0, 1), 0x1.b9e279aa86e58p-2);
  EXPECT_EQ(uniform(42, 1000000), 0x1.f57da479c1e98p-1);
  EXPECT_EQ(uniform(UINT64_MAX, 5), 0x1.c9cbd653b7a00p-5);
}

TEST(Sampler, TheStreamIsEven) {
  std::vector<int> counts(64);
  for (uint64_t seed = 0; seed < 64; ++seed) {
    for (uint64_t n = 0; n < 1000; ++n) {
      const double u = uniform(seed, n);
      ASSERT_GE(u, 0);
      ASSERT_LT(u, 1);
      ++counts[static_cast<size_t>(u * 64)];
    }
  }
  double chi_square = 0;
  for (const int count : counts) chi_square += (count - 1000.0) * (count - 1000.0) / 1000;
  EXPECT_LT(chi_square, 103.5);  // 63 degrees of freedom, p = 0.001
  EXPECT_GT(chi_square, 33);
}

TEST(Sampler, GreedyTakesTheLargestAndOfEqualOnesTheFirst) {
  SamplingOptions options;
  options.temperature = 0;
  Sampler sampler(options, 5);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 3, 2, 3}, {}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-5, -kInfinity, -4, -9, -4}, {}), 2);
  EXPECT_EQ(sampler.sample(std::vector<float>{-0.0f, 0.0f, -1, -1, -1}, {}), 0);
}

TEST(Sampler, PenaltiesAndBiasApplyToGreedy) {
  SamplingOptions options;
  options.temperature = 0;
  options.repeat_penalty = 2;
  const std::vector<float> logits = {1, 3, 2, -1};
  EXPECT_EQ(Sampler(options, 4).sample(logits, std::vector<int32_t>{1}), 2);
  options.logit_bias = {{3, 10}};
  EXPECT_EQ(Sampler(options, 4).sample(logits, std::vector<int32_t>{1}), 3);
  options.logit_bias = {{2, -kInfinity}};
  EXPECT_EQ(Sampler(options, 4).sample(logits, std::vector<int32_t>{1}), 1);
}

TEST(Sampler, ExtremePenaltiesStayFinite) {
  SamplingOptions options = plain();
  options.repeat_penalty = std::numeric_limits<float>::max();
  options.presence_penalty = std::numeric_limits<float>::max();
  options.frequency_penalty = std::numeric_limits<float>::max();
  const std::vector<int32_t> history = {0, 0, 0, 1, 2};
  const std::vector<float> logits = {1e30f, -1e30f, -kInfinity, -2};
  EXPECT_EQ(Sampler(options, 4).sample(logits, history), 3);
  options.temperature = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(Sampler(options, 4).sample(logits, {}), 0);
  options.temperature = std::numeric_limits<float>::max();
  EXPECT_NE(Sampler(options, 4).sample(logits, {}), 2);
}

TEST(Sampler, RefusesWhatAModelMustNotSay) {
  const auto message = [](std::vector<float> logits) -> std::string {
    for (const float temperature : {0.0f, 1.0f}) {
      SamplingOptions options;
      options.temperature = temperature;
      try {
        Sampler(options, static_cast<int>(logits.size())).sample(logits, {});
        return "accepted";
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kInvalidData) return "other code";
        if (temperature == 1) return error.what();
      }
    }
    return "";
  };
  EXPECT_THAT(message({0, kNan, 1}), HasSubstr("token 1: found NaN"));
  EXPECT_THAT(message({0, 1, kInfinity}), HasSubstr("token 2: found infinity"));
  EXPECT_THAT(message({-kInfinity, -kInfinity}), HasSubstr("every logit is -infinity"));
}

TEST(Sampler, RefusesBadOptionsByName) {
  const auto refused = [](std::string_view name, auto set) {
    SamplingOptions options;
    set(options);
    try {
      check_sampling(options, 10);
      ADD_FAILURE() << name << " accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      EXPECT_THAT(error.what(), HasSubstr(std::string(name) + ": found "));
      EXPECT_THAT(error.what(), HasSubstr("allowed "));
    }
  };
  using Options = SamplingOptions;
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    refused("temperature", [&](Options& o) { o.temperature = bad; });
    refused("top_p", [&](Options& o) { o.top_p = bad; });
    refused("min_p", [&](Options& o) { o.min_p = bad; });
    refused("repeat_penalty", [&](Options& o) { o.repeat_penalty = bad; });
    refused("presence_penalty", [&](Options& o) { o.presence_penalty = bad; });
    refused("frequency_penalty", [&](Options& o) { o.frequency_penalty = bad; });
  }
  refused("logit_bias", [](Options& o) { o.logit_bias = {{1, kNan}}; });
  refused("logit_bias", [](Options& o) { o.logit_bias = {{1, kInfinity}}; });
  refused("logit_bias token", [](Options& o) { o.logit_bias = {{10, 1.0f}}; });
  refused("logit_bias token", [](Options& o) { o.logit_bias = {{-1, 1.0f}}; });
  refused("temperature", [](Options& o) { o.temperature = -0.1f; });
  refused("top_p", [](Options& o) { o.top_p = 1.5f; });
  refused("min_p", [](Options& o) { o.min_p = -0.5f; });
  refused("top_k", [](Options& o) { o.top_k = -1; });
  refused("repeat_penalty", [](Options& o) { o.repeat_penalty = 0; });
  refused("repeat_last_n", [](Options& o) { o.repeat_last_n = -2; });
  EXPECT_NO_THROW(check_sampling(Options{}, 10));
}

TEST(Sampler, RealVocabularies) {
  std::mt19937 random(5);
  SamplingOptions options;
  for (const int top_k : {0, 40, 60'000}) {
    options.top_k = top_k;
    expect_same(options, random_logits(random, 100'352, false), {});
  }
}

}  // namespace
}  // namespace upg::runtime
