// The bundled checkpoint, and the larger one where there is one, against the golden files that lie
// beside them (transformers, float32): raw weights, every backend of this machine.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>

#include "base/env.h"
#include "base/file.h"
#include "base/json.h"
#include "base/probability.h"
#include "model/step_runner.h"

namespace upg::model {
namespace {

namespace fs = std::filesystem;

constexpr int kContext = 128;
constexpr double kTolerance = 1e-4;
constexpr double kHalfCacheTolerance = 3e-3;

struct GoldenPrompt {
  std::vector<int32_t> ids;
  std::vector<int32_t> top_ids;
  std::vector<float> top_logits;
  double logsumexp = 0;
  std::vector<int32_t> greedy;
};

std::vector<int32_t> read_ids(const base::Json& json, const char* key) {
  std::vector<int32_t> ids;
  for (const base::Json& id : json.find(key)->as_array(key)) {
    ids.push_back(static_cast<int32_t>(id.as_integer(key, 0, 1 << 24)));
  }
  return ids;
}

std::vector<GoldenPrompt> read_golden(const fs::path& folder) {
  const std::string text = base::read_file(folder / "golden.json", size_t{1} << 24);
  const base::JsonDocument document(text, "golden.json");
  std::vector<GoldenPrompt> prompts;
  for (const base::Json& json : document.root().find("cases")->as_array("cases")) {
    GoldenPrompt& prompt = prompts.emplace_back();
    prompt.ids = read_ids(json, "ids");
    prompt.top_ids = read_ids(json, "top_ids");
    prompt.greedy = read_ids(json, "greedy");
    prompt.logsumexp = json.find("logsumexp")->as_number("logsumexp");
    for (const base::Json& value : json.find("top_logits")->as_array("top_logits")) {
      prompt.top_logits.push_back(static_cast<float>(value.as_number("top_logits")));
    }
  }
  return prompts;
}

fs::path find_model(const std::string& name) {
  if (name == "books-12m") return fs::path(UPG_SOURCE_DIR) / "models" / name;
  const fs::path beside = fs::path(UPG_SOURCE_DIR) / "../shared/models";
  return fs::path(base::environment("UPG_TEST_MODELS").value_or(beside.native())) / name;
}

int32_t best_of(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

struct BookCase {
  std::string model;
  std::string backend;
};

class Books : public testing::TestWithParam<BookCase> {
 protected:
  void SetUp() override {
    const fs::path folder = find_model(GetParam().model);
    if (!fs::exists(folder / "config.json")) {
      GTEST_SKIP() << "no " << folder << ": set UPG_TEST_MODELS to the folder that holds it";
    }
    prompts_ = read_golden(folder);
    ASSERT_FALSE(prompts_.empty());
    source_ = ModelSource::open(folder);
    kernels::BackendOptions options;
    options.cpu = GetParam().backend;
    backend_ = kernels::create_backend(options);
  }

  StepRunner runner(kernels::KvType type) const {
    return StepRunner(source_, *backend_, kContext, type);
  }

  // The listed logits and the log-sum-exp after the prompt.
  static void expect_golden(std::span<const float> logits, const GoldenPrompt& prompt,
                            double tolerance) {
    for (size_t i = 0; i < prompt.top_ids.size(); ++i) {
      const auto id = static_cast<size_t>(prompt.top_ids[i]);
      EXPECT_NEAR(logits[id], prompt.top_logits[i], tolerance) << "token " << id;
    }
    EXPECT_NEAR(base::log_sum_exp(logits), prompt.logsumexp, tolerance);
  }

  std::vector<GoldenPrompt> prompts_;
  std::shared_ptr<const ModelSource> source_;
  std::unique_ptr<kernels::Backend> backend_;
};

// One pass over prompt and answer: when the best token after each prefix is the next one of the
// answer, generating one by one gives the answer.
TEST_P(Books, LogitsAndGreedyTokensMatchTransformers) {
  StepRunner run = runner(kernels::KvType::kF32);
  const auto vocabulary = static_cast<size_t>(source_->config().vocabulary);
  for (const GoldenPrompt& prompt : prompts_) {
    std::vector<int32_t> ids = prompt.ids;
    ids.insert(ids.end(), prompt.greedy.begin(), prompt.greedy.end() - 1);
    std::vector<int32_t> wanted(prompt.greedy.size());
    std::iota(wanted.begin(), wanted.end(), static_cast<int32_t>(prompt.ids.size()) - 1);
    run.restart(kContext);
    const std::vector<float> logits = run.step(ids, wanted);
    expect_golden({logits.data(), vocabulary}, prompt, kTolerance);
    std::vector<int32_t> best;
    for (size_t i = 0; i < wanted.size(); ++i) {
      best.push_back(best_of({&logits[i * vocabulary], vocabulary}));
    }
    EXPECT_EQ(best, prompt.greedy);
  }
}

TEST_P(Books, LogitsWithHalfPrecisionCacheAreClose) {
  StepRunner run = runner(kernels::KvType::kF16);
  for (const GoldenPrompt& prompt : prompts_) {
    run.restart(kContext);
    const int32_t last = static_cast<int32_t>(prompt.ids.size()) - 1;
    expect_golden(run.step(prompt.ids, {&last, 1}), prompt, kHalfCacheTolerance);
  }
}

TEST_P(Books, OneByOneEqualsOnePass) {
  StepRunner run = runner(kernels::KvType::kF32);
  std::vector<int32_t> ids = prompts_[0].ids;
  ids.insert(ids.end(), prompts_[0].greedy.begin(), prompts_[0].greedy.end());
  ids.resize(GetParam().backend == "reference" ? 12 : 40);  // reference is slow one by one
  const std::vector<float> whole = run.run(ids, ids.size(), kContext);
  const std::vector<float> single = run.run(ids, 1, kContext);
  ASSERT_EQ(whole.size(), single.size());
  double worst = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    worst = std::max(worst, static_cast<double>(std::abs(whole[i] - single[i])));
  }
  EXPECT_LE(worst, kTolerance);
}

std::vector<BookCase> book_cases() {
  std::vector<BookCase> cases;
  for (const kernels::BackendRow& row : kernels::all_backends()) {
    if (!row.supported()) continue;
    for (const char* model : {"books-12m", "books-74m"}) {
      cases.push_back({model, std::string(row.name)});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, Books, testing::ValuesIn(book_cases()), [](const auto& entry) {
  return fmt::format("{}_{}", entry.param.backend, entry.param.model.substr(6));
});

}  // namespace
}  // namespace upg::model
