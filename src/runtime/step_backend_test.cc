// Steps on a backend that does more, or less, than the CPU: it chooses tokens, or it fails.
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "kernels/forwarding_backend.h"
#include "runtime/continuation.h"
#include "runtime/engine_state.h"
#include "runtime/engine_test_support.h"

namespace upg::runtime {
namespace {

// What a test changes about the backend while the engine uses it.
struct Script {
  bool chooses = false;
  int32_t next = 0;           // the first id chosen; -1: left to the caller
  size_t choices = 0;         // rows that were to be chosen
  size_t changes = 0;         // of their logits
  size_t downloads = 0;       // bytes
  std::optional<Error> fail;  // thrown by what comes next
  std::string where;          // the operation that fails
};

class ScriptedBackend final : public kernels::ForwardingBackend {
 public:
  ScriptedBackend(std::unique_ptr<Backend> inner, Script& script)
      : ForwardingBackend(std::move(inner)), script_(script) {}

  kernels::Buffer allocate(size_t bytes) override {
    fail("allocate");
    return ForwardingBackend::allocate(bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    fail("download");
    script_.downloads += bytes;
    ForwardingBackend::download(to, from, bytes);
  }
  void begin_step(const kernels::StepBatch& batch) override {
    fail("begin_step");
    ForwardingBackend::begin_step(batch);
  }
  void attention(float* out, const float* qkv, const kernels::AttentionShape& shape,
                 const kernels::KvLayer& cache) override {
    fail("attention");
    ForwardingBackend::attention(out, qkv, shape, cache);
  }
  bool choose_ids(std::span<int32_t> ids, float*, int64_t,
                  std::span<const kernels::TokenChoice> choices) override {
    fail("choose_ids");
    if (!script_.chooses) return false;
    script_.choices += choices.size();
    for (const kernels::TokenChoice& choice : choices) script_.changes += choice.changes.size();
    for (int32_t& id : ids) id = script_.next < 0 ? -1 : script_.next++;
    return true;
  }

 private:
  void fail(std::string_view operation) {
    if (script_.fail && script_.where == operation) throw Error(*script_.fail);
  }
  Script& script_;
};

class StepBackend : public testing::Test {
 protected:
  void SetUp() override { load({}); }
  void load(const LoadOptions& options) {
    LoadOptions small = options;
    small.context = 128;
    small.sequences = 4;
    engine_ = std::make_unique<EngineState>();
    engine_->load(model_folder(), small,
                  std::make_unique<ScriptedBackend>(
                      kernels::create_backend({.device = "cpu", .threads = 1}), script_));
  }
  std::vector<StepOutput> step(const std::vector<StepInput>& inputs) {
    return engine_->step(inputs);
  }
  // What generate() says on the plain CPU.
  Ids generated(const GenerateOptions& options) {
    return load_plain()->generate(goldens()[0].ids, options, {}).ids;
  }
  std::unique_ptr<EngineState> load_plain() {
    auto engine = std::make_unique<EngineState>();
    engine->load(model_folder(), {.threads = 1, .context = 128});
    return engine;
  }
  std::unique_ptr<TextContinuation> continuation(const GenerateOptions& options) {
    return std::make_unique<TextContinuation>(engine_->text.get(), engine_->info, goldens()[0].ids,
                                              options, 128);
  }

  Script script_;
  std::unique_ptr<EngineState> engine_;
};

GenerateOptions varied(int max_tokens) {
  GenerateOptions options = greedy(max_tokens);
  options.sampling.temperature = 1.5f;
  options.sampling.repeat_penalty = 1.2f;
  options.sampling.seed = 5;
  return options;
}

// Only even ids, or only ids that are a multiple of four.
class Multiples final : public TokenFilter {
 public:
  explicit Multiples(int of) : of_(of) {}
  bool allows(int32_t id) const override { return id % of_ == 0; }
  void mask(std::span<float> logits) const override {
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!allows(static_cast<int32_t>(i))) logits[i] = -std::numeric_limits<float>::infinity();
    }
  }
  void accept(int32_t id) override { EXPECT_TRUE(allows(id)); }
  bool ended() const override { return false; }

 private:
  int of_;
};

TEST_F(StepBackend, ChoicesOfTheBackendNeedNoLogits) {
  script_.chooses = true;
  script_.next = 100;
  const auto first = continuation(varied(10));
  const auto second = continuation(greedy(10));
  const Ids prompt = long_prompt(10);
  const auto outputs = step({{engine_->create(0), prompt, StepWant::kLastLogits, first.get()},
                             {engine_->create(0), prompt, StepWant::kLastLogits},
                             {engine_->create(0), prompt, StepWant::kLastLogits, second.get()},
                             {engine_->create(0), prompt, StepWant::kNothing, second.get()}});
  for (const StepOutput& output : outputs) ASSERT_FALSE(output.error);
  EXPECT_EQ(outputs[1].values.size(), 8192u);
  EXPECT_EQ(first->next(outputs[0].values).id, 100);
  EXPECT_EQ(second->next(outputs[2].values).id, 101);
  EXPECT_EQ(script_.choices, 2u);
  EXPECT_GT(script_.changes, 0u) << "penalties of the first";
  EXPECT_EQ(script_.downloads, 8192 * sizeof(float)) << "of the one that asked for logits";
}

TEST_F(StepBackend, GenerationsTakeWhatTheBackendChooses) {
  script_.chooses = true;
  script_.next = 500;
  const GenerateResult result = engine_->generate(goldens()[0].ids, varied(4), {});
  EXPECT_EQ(result.ids, (Ids{500, 501, 502, 503}));
  EXPECT_EQ(script_.downloads, 0u);
}

TEST_F(StepBackend, WhatTheBackendLeavesTheHostDraws) {
  const Ids want = generated(varied(8));
  script_.chooses = true;
  script_.next = -1;
  EXPECT_EQ(engine_->generate(goldens()[0].ids, varied(8), {}).ids, want);
  EXPECT_EQ(script_.choices, 8u);
}

// The engine's threads sample several sequences at once; each gets what its logits would give it.
TEST_F(StepBackend, ThreadsChooseWhereTheLogitsAre) {
  const auto plain = std::make_unique<EngineState>();
  plain->load(model_folder(), {.threads = 2, .context = 128, .sequences = 6});
  GenerateOptions filtered = varied(8);
  filtered.filter = std::make_shared<Multiples>(4);
  std::vector<SequenceId> ids;
  std::vector<std::unique_ptr<TextContinuation>> there;  // sampled in the step
  std::vector<std::unique_ptr<TextContinuation>> here;   // afterwards
  for (const GenerateOptions& options : {varied(8), greedy(8), filtered}) {
    ids.push_back(plain->create(0));
    there.push_back(continuation(options));
    here.push_back(continuation(options));
  }
  std::vector<Ids> tokens(ids.size(), goldens()[0].ids);
  size_t empty = 0;
  for (int i = 0; i < 6; ++i) {
    std::vector<StepInput> inputs;
    std::vector<StepInput> same;
    for (size_t k = 0; k < ids.size(); ++k) {
      inputs.push_back({ids[k], tokens[k], StepWant::kLastLogits, there[k].get()});
      same.push_back({plain->fork(ids[k], plain->find(ids[k]).length()), tokens[k]});
    }
    std::vector<Ids> next(ids.size());
    const auto outputs = plain->step(inputs);
    for (size_t k = 0; k < ids.size(); ++k) {
      empty += outputs[k].values.empty();
      next[k] = {there[k]->next(outputs[k].values).id};
    }
    const auto logits = plain->step(same);
    for (size_t k = 0; k < ids.size(); ++k) {
      EXPECT_EQ(next[k][0], here[k]->next(logits[k].values).id) << "sequence " << k << ", " << i;
      plain->free(same[k].sequence);
    }
    tokens = next;
  }
  EXPECT_GE(empty, 12u) << "of the two without a filter";
}

TEST_F(StepBackend, AFilterIsAskedAboutWhatWasChosen) {
  script_.chooses = true;
  script_.next = 600;
  GenerateOptions options = varied(3);
  options.filter = std::make_shared<Multiples>(2);
  const GenerateResult result = engine_->generate(goldens()[0].ids, options, {});
  EXPECT_EQ(result.ids[0], 600);
  EXPECT_EQ(result.ids[1] % 2, 0) << "601 was chosen: drawn anew by the host";
  EXPECT_EQ(result.ids[2], 602);
  EXPECT_EQ(script_.downloads, 8192 * sizeof(float));
}

// Whatever the device says goes up as it is; sequences, cache and samplers are as they were, so
// that what can go on does.
TEST_F(StepBackend, AFailedStepLeavesEverythingAsItWas) {
  const Ids want = generated(varied(2));
  for (const char* where : {"begin_step", "attention", "choose_ids", "download"}) {
    const auto next = continuation(varied(2));
    const SequenceId id = engine_->create(0);
    const auto first = step({{id, goldens()[0].ids, StepWant::kLastLogits, next.get()}});
    ASSERT_FALSE(first[0].error);
    EXPECT_EQ(next->next(first[0].values).id, want[0]);
    const int length = engine_->find(id).length();
    const int pages = engine_->cache->free_pages();
    const StepInput input{id, {want.data(), 1}, StepWant::kLastLogits, next.get()};
    script_.where = where;
    for (const ErrorCode code : {ErrorCode::kOutOfMemory, ErrorCode::kDevice}) {
      script_.fail = Error(code, "CUDA: the test says no");
      try {
        step({input});
        ADD_FAILURE() << where << " did not fail";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), code);
        EXPECT_EQ(exit_code(error.code()), 4);
      }
      EXPECT_EQ(engine_->find(id).length(), length);
      EXPECT_EQ(engine_->cache->free_pages(), pages);
    }
    script_.fail.reset();
    EXPECT_EQ(next->next(step({input})[0].values).id, want[1]) << where;
    engine_->free(id);
  }
}

TEST_F(StepBackend, AFailureInMidTextEndsTheGeneration) {
  GenerateOptions options = greedy(20);
  int tokens = 0;
  script_.where = "attention";
  const auto fail_later = [&](const GeneratedToken&) {
    if (++tokens == 3) script_.fail = Error(ErrorCode::kDevice, "CUDA: the device is lost");
    return true;
  };
  const int pages = engine_->cache->free_pages();
  EXPECT_THROW(engine_->generate(goldens()[0].ids, options, fail_later), Error);
  EXPECT_EQ(tokens, 3);
  EXPECT_EQ(engine_->cache->free_pages(), pages) << "its cache is free again";
  script_.fail.reset();
  EXPECT_EQ(engine_->generate(goldens()[0].ids, options, {}).ids.size(), 20u);
}

TEST_F(StepBackend, NoMemoryWhileLoadingIsSaid) {
  script_.where = "allocate";
  script_.fail = Error(ErrorCode::kOutOfMemory, "CUDA: cannot allocate");
  try {
    load({});
    FAIL() << "it loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
  }
}

// ---- layers on two backends

// As a device: weights take memory of its own, of which there is only so much.
class SmallDevice final : public kernels::ForwardingBackend {
 public:
  explicit SmallDevice(uint64_t memory)
      : ForwardingBackend(kernels::create_backend({.device = "cpu", .threads = 1})),
        memory_(memory) {}
  uint64_t available_memory() const override { return memory_; }
  uint64_t weight_bytes(const codec::Matrix& matrix) const override {
    return static_cast<uint64_t>(2 * matrix.rows * matrix.cols);
  }
  std::shared_ptr<const kernels::Weight> load(const codec::Matrix& matrix) override {
    ++loaded;
    return ForwardingBackend::load(matrix);
  }
  static inline int loaded = 0;

 private:
  uint64_t memory_;
};

constexpr uint64_t kLots = uint64_t{1} << 40;

std::unique_ptr<EngineState> load_split(uint64_t memory, LoadOptions options) {
  auto engine = std::make_unique<EngineState>();
  options.threads = 1;
  options.context = 128;
  SmallDevice::loaded = 0;
  engine->load(model_folder(), options, std::make_unique<SmallDevice>(memory));
  return engine;
}

TEST(SplitModel, GivesTheSameLogitsWhereverItIsCut) {
  const Ids prompt = long_prompt(70);
  const auto whole = load_split(kLots, {.chunk = 32});
  EXPECT_FALSE(whole->host);
  const std::vector<float> want = whole->forward(prompt);
  const Ids generated = whole->generate(prompt, varied(20), {}).ids;
  for (const char* layers : {"1", "5", "7", "8", "99", "all"}) {
    const auto split = load_split(kLots, {.chunk = 32, .gpu_layers = layers});
    EXPECT_EQ(split->forward(prompt), want) << layers;
    EXPECT_EQ(split->generate(prompt, varied(20), {}).ids, generated) << layers;
  }
}

TEST(SplitModel, SharedPagesAreCopiedOnBothSides) {
  const auto whole = load_split(kLots, {.sequences = 4});
  const auto split = load_split(kLots, {.sequences = 4, .gpu_layers = "3"});
  ASSERT_TRUE(split->host);
  const Ids prompt = long_prompt(40);
  for (EngineState* engine : {whole.get(), split.get()}) {
    const SequenceId first = engine->create(0);
    const StepInput all{first, prompt};
    ASSERT_FALSE(engine->step({&all, 1})[0].error);
    const SequenceId second = engine->fork(first, 35);
    EXPECT_EQ(second, 2);
  }
  const Ids next = {77, 78};
  const StepInput inputs[] = {{2, next}, {1, next}};
  const auto want = whole->step(inputs);
  const auto got = split->step(inputs);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(max_difference(got[i].values, want[i].values), 0);
  }
}

TEST(SplitModel, LoadsOnlyItsLayersThere) {
  load_split(kLots, {.gpu_layers = "2"});
  EXPECT_EQ(SmallDevice::loaded, 2 * 4 + 1) << "matrices of two layers and the head";
  load_split(kLots, {});
  EXPECT_EQ(SmallDevice::loaded, 8 * 4 + 2);
  load_split(kLots, {.gpu_layers = "0"});
  EXPECT_EQ(SmallDevice::loaded, 0);
}

TEST(SplitModel, TellsItsPlanBeforeItLoads) {
  std::optional<MemoryPlan> told;
  LoadOptions options;
  options.on_plan = [&](const MemoryPlan& plan) {
    told = plan;
    EXPECT_EQ(SmallDevice::loaded, 0);
  };
  const uint64_t memory = 300'000'000;  // less than 256 MiB of it are not for weights
  const auto engine = load_split(memory, options);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->free_bytes, memory);
  EXPECT_EQ(told->layers, 8);
  EXPECT_LE(told->weight_bytes + told->cache_bytes + told->scratch_bytes, memory);
  EXPECT_EQ(told->context, 128);
  EXPECT_LT(told->device_layers, 8);
  EXPECT_GT(told->device_layers, 0);
  EXPECT_TRUE(engine->host);
  EXPECT_EQ(SmallDevice::loaded, 4 * told->device_layers + 1);
}

TEST(SplitModel, TooLittleMemoryIsRefusedOrLeftToTheCpu) {
  try {
    load_split(1000, {.device = "cuda"});
    FAIL() << "it loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    EXPECT_NE(std::string(error.what()).find("free are 1"), std::string::npos) << error.what();
  }
  EXPECT_THROW(load_split(1000, {.gpu_layers = "all"}), Error);
  const auto engine = load_split(1000, {.device = "auto"});
  EXPECT_EQ(SmallDevice::loaded, 0);
  EXPECT_FALSE(engine->info.backend.empty());
}

}  // namespace
}  // namespace upg::runtime
