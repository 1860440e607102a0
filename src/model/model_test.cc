// The step itself: batches of sequences, the rows that are asked for, limits and sizes.
#include "model/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>
#include <vector>

#include "model/step_runner.h"
#include "upg/error.h"

namespace upg::model {
namespace {

namespace fs = std::filesystem;

const fs::path kVariants = fs::path(UPG_SOURCE_DIR) / "tests/golden/model_variants";

std::unique_ptr<kernels::Backend> reference() {
  return kernels::create_backend({.device = "reference", .cpu = {}, .threads = 1});
}

class ModelSteps : public testing::Test {
 protected:
  std::unique_ptr<kernels::Backend> backend_ = reference();
  std::shared_ptr<const ModelSource> source_ = ModelSource::open(kVariants / "phi3_longrope");
  const std::vector<int32_t> ids_ = {11, 50, 7, 33, 62, 5, 19, 40, 71, 3};
};

TEST_F(ModelSteps, WantedRowsAreRowsOfAll) {
  StepRunner runner(source_, *backend_, 64, kernels::KvType::kF32);
  const std::vector<float> all = runner.run(ids_, ids_.size(), 10);
  const auto vocabulary = static_cast<size_t>(source_->config().vocabulary);
  const std::vector<int32_t> wanted = {9, 2, 2};
  runner.restart(10);
  const std::vector<float> some = runner.step(ids_, wanted);
  ASSERT_EQ(some.size(), 3 * vocabulary);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const float* want = &all[static_cast<size_t>(wanted[i]) * vocabulary];
    EXPECT_TRUE(std::equal(want, want + vocabulary, &some[i * vocabulary])) << i;
  }
  // More rows of the same step; none at all.
  const int32_t fifth = 5;
  std::vector<float> later(vocabulary);
  backend_->download(later.data(), runner.model().logits({&fifth, 1}), vocabulary * sizeof(float));
  EXPECT_TRUE(std::equal(later.begin(), later.end(), &all[5 * vocabulary]));
  runner.restart(10);
  EXPECT_TRUE(runner.step(ids_, {}).empty());
}

// Three sequences at different places, one of them opened long, in one step and one at a time.
TEST_F(ModelSteps, SequencesOfABatchDoNotSeeEachOther) {
  Model model(source_, *backend_, {.max_tokens = 32, .max_logits = 32});
  const ModelConfig& config = model.config();
  const auto vocabulary = static_cast<size_t>(config.vocabulary);
  const size_t page = kernels::kv_row_bytes(kernels::KvType::kF32, config.attention.head_dim) *
                      static_cast<size_t>(config.attention.kv_heads) * kernels::kPageTokens;
  std::vector<kernels::Buffer> buffers;
  std::vector<kernels::KvLayer> cache;
  for (int layer = 0; layer < config.layers; ++layer) {
    buffers.push_back(backend_->allocate(6 * page));
    cache.push_back({buffers.back().bytes(), buffers.back().bytes() + 3 * page,
                     kernels::KvType::kF32, kernels::KvType::kF32});
  }
  const std::vector<int32_t> pages = {2, 0, 1};
  const std::vector<int64_t> planned = {10, 40, 10};
  const std::vector<size_t> first = {4, 9, 1};  // tokens of the first step; the rest in the second

  std::vector<std::vector<float>> last(3);
  for (const bool second : {false, true}) {
    std::vector<int32_t> ids;
    std::vector<kernels::SequenceSlice> slices;
    std::vector<const kernels::Rope*> ropes;
    std::vector<int32_t> wanted;
    for (size_t s = 0; s < 3; ++s) {
      const size_t begin = second ? first[s] : 0;
      const size_t end = second ? ids_.size() : first[s];
      slices.push_back({static_cast<int>(ids.size()),
                        static_cast<int>(end - begin),
                        static_cast<int>(begin),
                        {&pages[s], 1}});
      ids.insert(ids.end(), ids_.begin() + static_cast<long>(begin),
                 ids_.begin() + static_cast<long>(end));
      ropes.push_back(&model.rope_for(planned[s]));
      wanted.push_back(static_cast<int32_t>(ids.size()) - 1);
    }
    const float* logits =
        model.forward({static_cast<int>(ids.size()), ids, slices, ropes}, cache, wanted);
    for (size_t s = 0; s < 3; ++s) {
      last[s].resize(vocabulary);
      backend_->download(last[s].data(), logits + s * vocabulary, vocabulary * sizeof(float));
    }
  }

  StepRunner alone(source_, *backend_, 64, kernels::KvType::kF32);
  for (size_t s = 0; s < 3; ++s) {
    const std::vector<float> all = alone.run(ids_, ids_.size(), planned[s]);
    const std::span<const float> want(&all[9 * vocabulary], vocabulary);
    EXPECT_LE(relative_error(last[s], want), 1e-5) << s;
  }
  EXPECT_GT(relative_error(last[0], last[1]), 1e-2);  // other factors, other logits
}

TEST_F(ModelSteps, HiddenStateAndItsNorm) {
  StepRunner runner(source_, *backend_, 64, kernels::KvType::kF32);
  runner.run(ids_, ids_.size(), 10);
  const auto hidden = static_cast<size_t>(source_->config().hidden);
  std::vector<float> x(hidden), normed(hidden);
  const int32_t row = 3;
  backend_->download(normed.data(), runner.model().normed({&row, 1}), hidden * sizeof(float));
  backend_->download(x.data(), runner.model().hidden() + 3 * hidden, hidden * sizeof(float));
  std::vector<float> weight;
  for (const TensorSpec& spec : source_->specs()) {
    if (spec.name == "model.norm.weight") weight = source_->vector(spec);
  }
  double square = 0;
  for (const float value : x) square += static_cast<double>(value) * value;
  const double scale =
      1 / std::sqrt(square / static_cast<double>(hidden) + source_->config().norm_epsilon);
  for (size_t i = 0; i < hidden; ++i) EXPECT_NEAR(normed[i], x[i] * scale * weight[i], 1e-5) << i;
}

TEST_F(ModelSteps, Sizes) {
  const Model tied(source_, *backend_, {.max_tokens = 4, .max_logits = 1});
  uint64_t bytes = 0;
  for (const TensorSpec& spec : source_->specs()) bytes += source_->stored_bytes(spec);
  EXPECT_EQ(tied.bytes_per_token(), bytes);  // the embedding is the head
  EXPECT_EQ(tied.parameters(), parameter_count(source_->specs()));

  const std::shared_ptr<const ModelSource> llama = ModelSource::open(kVariants / "llama");
  const Model untied(llama, *backend_, {.max_tokens = 4, .max_logits = 1});
  const uint64_t embedding = llama->stored_bytes(llama->specs().front());
  EXPECT_EQ(untied.bytes_per_token(), llama->file_bytes() - embedding);

  // hidden 40, 5 heads and 1 kv head of 8, intermediate 36, vocabulary 80
  EXPECT_EQ(untied.scratch_bytes(), 4u * (4 * (40 + 40 + 56 + 40 + 72 + 36) + 40 + 80));
  EXPECT_EQ(cache_bytes_per_token(llama->config(), kernels::KvType::kF16, kernels::KvType::kF32),
            2u * 1 * 8 * (2 + 4));
}

TEST_F(ModelSteps, LimitsMustBePositive) {
  for (const ModelLimits& limits : {ModelLimits{0, 1}, ModelLimits{1, 0}, ModelLimits{-1, 1}}) {
    try {
      const Model model(source_, *backend_, limits);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
    }
  }
}

}  // namespace
}  // namespace upg::model
