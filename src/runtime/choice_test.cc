// Tokens chosen by a backend against the sampler, which is the specification: random logits, ties,
// infinities, tiny and large vocabularies, every stage of the chain.
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <limits>
#include <random>
#include <vector>

#include "kernels/backend.h"
#include "runtime/sampler.h"

namespace upg::runtime {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::unique_ptr<kernels::Backend> gpu() {
  for (const kernels::BackendRow& row : kernels::all_backends()) {
    if (row.device == "cuda" && row.supported()) return kernels::create_backend({.device = "cuda"});
  }
  return nullptr;
}

// One row: what it is drawn from, with which options, after which tokens.
struct Row {
  SamplingOptions options;
  std::vector<float> logits;
  std::vector<int32_t> history;
};

std::vector<float> random_logits(std::mt19937& random, int vocabulary) {
  const float spread = std::vector<float>{0.01f, 1, 3, 10, 40}[random() % 5];
  std::normal_distribution<float> normal(0, spread);
  const bool ties = random() % 4 == 0;
  const bool ruled_out = random() % 3 == 0;
  std::vector<float> logits(static_cast<size_t>(vocabulary));
  for (float& logit : logits) {
    logit = normal(random);
    if (ties) logit = std::round(8 * logit) / 8;
    if (ruled_out && random() % 16 == 0) logit = -kInfinity;
  }
  if (random() % 8 == 0) logits[random() % logits.size()] = -0.0f;
  if (random() % 8 == 0) logits[random() % logits.size()] = 1e30f;
  logits[random() % logits.size()] = 1;
  return logits;
}

template <class T>
T one_of(std::mt19937& random, std::initializer_list<T> values) {
  return *(values.begin() + random() % values.size());
}

Row random_row(std::mt19937& random, int vocabulary) {
  Row row;
  SamplingOptions& options = row.options;
  options.temperature = one_of(random, {0.0f, 0.3f, 0.8f, 1.0f, 2.5f, 1e-6f});
  options.top_k = one_of(random, {0, 1, 2, 40, 1000, vocabulary, vocabulary + 5});
  options.top_p = one_of(random, {1.0f, 0.95f, 0.5f, 0.0f, 0.9999f});
  options.min_p = one_of(random, {0.0f, 0.05f, 0.5f, 1.0f});
  options.seed = random();
  if (random() % 2 == 0) {
    options.repeat_penalty = one_of(random, {1.0f, 1.3f, 0.7f});
    options.presence_penalty = one_of(random, {0.0f, 0.5f, -1.0f});
    options.frequency_penalty = one_of(random, {0.0f, 0.25f});
    options.repeat_last_n = one_of(random, {-1, 64, 3});
    for (int i = 0; i < 100; ++i) {
      row.history.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(vocabulary)));
    }
  }
  if (random() % 3 == 0) {
    for (const float bias : {2.0f, -kInfinity, 100.0f, -3.0f}) {
      const auto id = static_cast<int32_t>(random() % static_cast<unsigned>(vocabulary));
      options.logit_bias.emplace_back(id, vocabulary > 4 ? bias : 1.0f);
      options.logit_bias.emplace_back(id, 0.25f);
    }
  }
  row.logits = random_logits(random, vocabulary);
  return row;
}

struct Counts {
  int rows = 0;
  int left = 0;  // to the caller
  int differ = 0;
};

// All rows in one call, `draws` times.
void check_rows(kernels::Backend& backend, const std::vector<Row>& rows, int draws,
                Counts& counts) {
  const auto vocabulary = static_cast<int64_t>(rows[0].logits.size());
  std::vector<float> all;
  std::vector<Sampler> samplers, oracles;
  for (const Row& row : rows) {
    all.insert(all.end(), row.logits.begin(), row.logits.end());
    samplers.emplace_back(row.options, static_cast<int>(vocabulary));
    oracles.emplace_back(row.options, static_cast<int>(vocabulary));
  }
  kernels::Buffer logits = backend.allocate(all.size() * sizeof(float));
  backend.upload(logits.floats(), all.data(), logits.size());
  std::vector<int32_t> ids(rows.size());
  for (int n = 0; n < draws; ++n) {
    std::vector<kernels::TokenChoice> choices;
    for (size_t i = 0; i < rows.size(); ++i) {
      choices.push_back(samplers[i].choice(rows[i].history));
      samplers[i].skip_draw();
    }
    ASSERT_TRUE(backend.choose_ids(ids, logits.floats(), vocabulary, choices));
    for (size_t i = 0; i < rows.size(); ++i) {
      ++counts.rows;
      const int32_t want = oracles[i].sample(rows[i].logits, rows[i].history);
      if (ids[i] == -1) ++counts.left;
      if (ids[i] == -1 || ids[i] == want) continue;
      ++counts.differ;
      const SamplingOptions& o = rows[i].options;
      ADD_FAILURE() << "vocabulary " << vocabulary << ", draw " << n << ": " << ids[i] << " for "
                    << want << "; temperature " << o.temperature << ", top-k " << o.top_k
                    << ", top-p " << o.top_p << ", min-p " << o.min_p;
    }
  }
  std::vector<float> after(all.size());
  backend.download(after.data(), logits.floats(), logits.size());
  EXPECT_EQ(after, all) << "the logits are as they were";
}

TEST(Choice, IsTheSamplersForAnyOptions) {
  const auto backend = gpu();
  if (!backend) GTEST_SKIP() << "skipped: no CUDA device on this machine";
  std::mt19937 random(1);
  Counts counts;
  for (const int vocabulary : {1, 2, 5, 63, 64, 65, 1000, 8192, 100352, 200064}) {
    const int batches = vocabulary > 10000 ? 4 : 12;
    for (int batch = 0; batch < batches; ++batch) {
      std::vector<Row> rows;
      const int count = batch == 0 ? 1 : 1 + static_cast<int>(random() % 8);
      for (int i = 0; i < count; ++i) rows.push_back(random_row(random, vocabulary));
      check_rows(*backend, rows, 3, counts);
      if (HasFatalFailure()) return;
    }
  }
  std::cout << counts.rows << " tokens, " << counts.left << " left to the host\n";
  // Logits that are all but equal are the only ones that many lie in one bin of.
  EXPECT_LT(counts.left, counts.rows / 4);
}

TEST(Choice, LeavesToTheCallerWhatCannotBeChosen) {
  const auto backend = gpu();
  if (!backend) GTEST_SKIP() << "skipped: no CUDA device on this machine";
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> logits;
  for (const float bad : {nan, kInfinity, -kInfinity}) {
    for (int i = 0; i < 300; ++i) logits.push_back(bad == -kInfinity || i == 17 ? bad : 0.5f);
  }
  logits.insert(logits.end(), 300, 0.25f);  // nothing wrong
  kernels::Buffer buffer = backend->allocate(logits.size() * sizeof(float));
  backend->upload(buffer.floats(), logits.data(), buffer.size());
  for (const float temperature : {0.0f, 0.8f}) {
    SamplingOptions options;
    options.temperature = temperature;
    std::vector<Sampler> samplers(4, Sampler(options, 300));
    std::vector<kernels::TokenChoice> choices;
    for (Sampler& sampler : samplers) choices.push_back(sampler.choice({}));
    std::vector<int32_t> ids(4);
    ASSERT_TRUE(backend->choose_ids(ids, buffer.floats(), 300, choices));
    EXPECT_EQ(std::vector<int32_t>(ids.begin(), ids.begin() + 3), std::vector<int32_t>(3, -1));
    EXPECT_EQ(ids[3], samplers[3].sample(std::span(logits).last(300), {}));
  }
}

TEST(Choice, IsNotOfferedByTheCpu) {
  const auto backend = kernels::create_backend({.device = "cpu", .threads = 1});
  float logits[2] = {1, 2};
  int32_t id = 0;
  const kernels::TokenChoice choice;
  EXPECT_FALSE(backend->choose_ids({&id, 1}, logits, 2, {&choice, 1}));
}

}  // namespace
}  // namespace upg::runtime
