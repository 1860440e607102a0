// The GPU against the CPU through whole models: the same files, the same tokens.
//
// With int8 activations a last bit that differs turns roundings of activations over, and what that
// costs depends on the model alone: the GPU may be as far from the CPU's table as reference is.
//
// UPG_TEST_FILES names the models, colons between them (scripts/test-gpu makes and names some);
// without it the bundled checkpoint runs uncompressed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>

#include "base/env.h"
#include "base/file.h"
#include "base/probability.h"
#include "kernels/backend.h"
#include "runtime/engine_test_support.h"

namespace upg::runtime {
namespace {

constexpr int kWindow = 256;
constexpr int kWindows = 4;

std::vector<std::string> test_files() {
  std::vector<std::string> files;
  std::stringstream list(base::environment("UPG_TEST_FILES").value_or(model_folder()));
  for (std::string file; std::getline(list, file, ':');) files.push_back(file);
  return files;
}

bool has_gpu() {
  for (const kernels::BackendRow& row : kernels::all_backends()) {
    if (row.device == "cuda" && row.supported()) return true;
  }
  return false;
}

struct Comparison {
  double kl = 0;
  int same = 0;
  int count = 0;

  void add(std::span<const float> want, std::span<const float> got) {
    const double want_sum = base::log_sum_exp(want);
    const double got_sum = base::log_sum_exp(got);
    for (size_t i = 0; i < want.size(); ++i) {
      const double log_p = want[i] - want_sum;
      kl += std::exp(log_p) * (log_p - (got[i] - got_sum));
    }
    const auto best = [](std::span<const float> x) {
      return std::max_element(x.begin(), x.end()) - x.begin();
    };
    same += best(want) == best(got);
    ++count;
  }
  double mean_kl() const { return kl / count; }
  double share_same() const { return static_cast<double>(same) / count; }
};

class DeviceTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!has_gpu()) GTEST_SKIP() << "skipped: no CUDA device on this machine";
    cpu_ = Engine::load(GetParam(), {.device = "cpu", .context = kWindow});
    gpu_ = Engine::load(GetParam(), {.device = "cuda", .context = kWindow});
    const std::string text =
        base::read_file(UPG_SOURCE_DIR "/data/calibration.txt", size_t{1} << 24);
    ids_ = cpu_->encode(text.substr(0, 40000), false);
    ASSERT_GE(ids_.size(), size_t{kWindow} * kWindows);
    const auto reference = Engine::load(GetParam(), {.device = "reference", .context = kWindow});
    between_tables_ = compare(cpu_->forward(window(0)), reference->forward(window(0)));
  }
  std::span<const int32_t> window(int index) const {
    return std::span(ids_).subspan(static_cast<size_t>(index) * kWindow, kWindow);
  }
  // Logits of each of the first `count` tokens, one step each.
  std::vector<float> one_by_one(Engine& engine, std::span<const int32_t> ids) {
    const SequenceId id = engine.create_sequence();
    std::vector<float> all;
    for (const int32_t& token : ids) {
      const StepInput input{id, {&token, 1}};
      const std::vector<StepOutput> outputs = engine.step({&input, 1});
      EXPECT_FALSE(outputs[0].error);
      all.insert(all.end(), outputs[0].values.begin(), outputs[0].values.end());
    }
    engine.free_sequence(id);
    return all;
  }
  Comparison compare(std::span<const float> want, std::span<const float> got) const {
    const auto vocabulary = static_cast<size_t>(cpu_->info().vocabulary);
    Comparison result;
    for (size_t i = 0; i < want.size(); i += vocabulary) {
      result.add(want.subspan(i, vocabulary), got.subspan(i, vocabulary));
    }
    return result;
  }
  void expect_close(std::span<const float> want, std::span<const float> got,
                    const std::string& what) const {
    ASSERT_EQ(want.size(), got.size());
    const Comparison result = compare(want, got);
    std::cout << GetParam() << ", " << what << ": KL " << result.mean_kl() << ", best token equal "
              << result.share_same() << "; between the CPU's tables " << between_tables_.mean_kl()
              << ", " << between_tables_.share_same() << "\n";
    EXPECT_LE(result.mean_kl(), std::max(1e-4, 2 * between_tables_.mean_kl())) << what;
    EXPECT_GE(result.share_same(), std::min(0.99, between_tables_.share_same() - 0.02)) << what;
  }

  std::unique_ptr<Engine> cpu_;
  std::unique_ptr<Engine> gpu_;
  std::vector<int32_t> ids_;
  Comparison between_tables_;
};

TEST_P(DeviceTest, PromptsAreThoseOfTheCpu) {
  std::vector<float> want, got;
  for (int i = 0; i < kWindows; ++i) {
    const std::vector<float> cpu = cpu_->forward(window(i));
    const std::vector<float> gpu = gpu_->forward(window(i));
    want.insert(want.end(), cpu.begin(), cpu.end());
    got.insert(got.end(), gpu.begin(), gpu.end());
  }
  expect_close(want, got, "prompts");
}

TEST_P(DeviceTest, SingleTokensAreThoseOfTheCpu) {
  const std::vector<float> want = cpu_->forward(window(0));
  for (const char* fusion : {"none", "layer", "token"}) {
    gpu_ = Engine::load(GetParam(), {.device = "cuda", .fusion = fusion, .context = kWindow});
    const std::vector<float> got = one_by_one(*gpu_, window(0));
    expect_close(want, got, std::string("single tokens, fusion ") + fusion);
    EXPECT_EQ(got, one_by_one(*gpu_, window(0))) << "the same bits on every run";
  }
}

INSTANTIATE_TEST_SUITE_P(Files, DeviceTest, testing::ValuesIn(test_files()),
                         [](const auto& file) { return std::to_string(file.index); });

}  // namespace
}  // namespace upg::runtime
