// What transformers computes in float32 on the shared checkpoints, through the engine: ids, logits,
// greedy texts, with every cache.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/env.h"
#include "runtime/engine_test_support.h"

namespace upg::runtime {
namespace {

// The first is bundled; the others lie in UPG_TEST_MODELS or beside the repository.
class Checkpoints : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    folder_ = std::string(UPG_SOURCE_DIR "/models/") + GetParam();
    if (!std::filesystem::exists(folder_)) {
      const auto models = base::environment("UPG_TEST_MODELS");
      folder_ = models.value_or(UPG_SOURCE_DIR "/../shared/models") + "/" + GetParam();
    }
    if (!std::filesystem::exists(folder_)) {
      GTEST_SKIP() << "no " << folder_ << ": set UPG_TEST_MODELS to the folder that holds it";
    }
    goldens_ = read_goldens(folder_);
    ASSERT_EQ(goldens_.size(), 7u);
  }
  std::unique_ptr<Engine> load_with(const char* cache_type, const char* device = "auto") {
    return Engine::load(
        folder_,
        {.device = device, .threads = 1, .cache_type_k = cache_type, .cache_type_v = cache_type});
  }
  // Of the first golden texts, how many are the reference's token for token.
  int same_texts(Engine& engine, size_t cases) {
    int same = 0;
    for (const Golden& golden : std::span(goldens_).first(cases)) {
      const GenerateResult result = engine.generate(golden.ids, greedy(48));
      EXPECT_EQ(result.ids.size(), 48u);
      EXPECT_EQ(result.finish, FinishReason::kLength);
      same += result.ids == golden.greedy;
    }
    return same;
  }
  // Logits of the last token of each case, computed in one step.
  void expect_logits(Engine& engine, double tolerance) {
    for (const Golden& golden : goldens_) {
      const SequenceId id = engine.create_sequence();
      const StepInput input{id, golden.ids};
      const std::vector<StepOutput> outputs = engine.step({&input, 1});
      ASSERT_FALSE(outputs[0].error);
      expect_golden(golden, outputs[0].values, tolerance);
      engine.free_sequence(id);
    }
  }

  std::string folder_;
  std::vector<Golden> goldens_;
};

TEST_P(Checkpoints, IdsOfTextsAndConversations) {
  const auto engine = load_with("f16");
  for (const Golden& golden : goldens_) {
    const std::string text =
        golden.messages.empty() ? golden.prompt : engine->apply_chat_template(golden.messages);
    EXPECT_EQ(engine->encode(text), golden.ids) << text;
  }
}

TEST_P(Checkpoints, FloatCache) {
  const auto engine = load_with("f32");
  expect_logits(*engine, 1e-4);
  EXPECT_EQ(same_texts(*engine, 2), 2);
}

TEST_P(Checkpoints, HalfCache) {
  const auto engine = load_with("f16");
  expect_logits(*engine, 3e-3);
  EXPECT_EQ(same_texts(*engine, 7), 7);
}

TEST_P(Checkpoints, ByteCache) {
  const auto engine = load_with("q8_0");
  expect_logits(*engine, 0.2);
  EXPECT_GE(same_texts(*engine, 2), 1);  // a near tie may turn
}

TEST_P(Checkpoints, Reference) {
  const auto engine = load_with("f32", "reference");
  expect_logits(*engine, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Golden, Checkpoints, testing::Values("books-12m", "books-74m"),
                         [](const auto& checkpoint) {
                           std::string name = checkpoint.param;
                           name.erase(name.find('-'), 1);
                           return name;
                         });

}  // namespace
}  // namespace upg::runtime
