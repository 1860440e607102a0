// The engine on the bundled checkpoint: the reference's tokens and logits, batches, chunks,
// sequences that fail alone.
#include "upg/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <random>
#include <thread>

#include "runtime/engine_test_support.h"

namespace upg::runtime {
namespace {

using testing::HasSubstr;

std::vector<float> one_step(Engine& engine, SequenceId id, const Ids& tokens, bool all = false) {
  const StepInput input{id, tokens, all ? StepWant::kAllLogits : StepWant::kLastLogits};
  const auto outputs = engine.step({&input, 1});
  if (outputs[0].error) throw *outputs[0].error;
  EXPECT_EQ(outputs[0].sequence, id);
  return {outputs[0].values.begin(), outputs[0].values.end()};
}

std::optional<Error> error_of(Engine& engine, SequenceId id, const Ids& tokens) {
  const StepInput input{id, tokens};
  return engine.step({&input, 1})[0].error;
}

std::span<const float> row(const std::vector<float>& logits, size_t i, const Engine& engine) {
  const auto vocabulary = static_cast<size_t>(engine.info().vocabulary);
  return std::span(logits).subspan(i * vocabulary, vocabulary);
}

TEST(Engine, SaysWhatItLoaded) {
  const auto engine = load({.context = 100, .sequences = 3});
  const ModelInfo& info = engine->info();
  EXPECT_EQ(info.architecture, "Phi3ForCausalLM");
  EXPECT_EQ(info.profile, "checkpoint");
  EXPECT_EQ(info.layers, 8);
  EXPECT_EQ(info.hidden, 256);
  EXPECT_EQ(info.vocabulary, 8192);
  EXPECT_EQ(info.context, 100);
  EXPECT_EQ(info.model_context, 1024);
  EXPECT_THAT(info.stop_ids, testing::UnorderedElementsAre(0, 2));
  // Layers: qkv 384 x 256, o 256 x 256, gate_up 2048 x 256, down 256 x 1024, two norms; a head.
  const uint64_t layer = 384 * 256 + 256 * 256 + 2048 * 256 + 256 * 1024 + 2 * 256;
  EXPECT_EQ(info.parameters, 8 * layer + 256 + 2 * 8192 * 256);
  EXPECT_GE(info.weight_bytes, 2 * (8 * layer + 256 + 8192 * 256));  // bf16, norms maybe wider
  EXPECT_LT(info.weight_bytes, 2 * (8 * layer + 256 + 8192 * 256) + 2 * 8 * 600 + 600);
  EXPECT_EQ(info.cache_bytes, 3u * 4 * 32 * 8 * 2 * 64 * 2);  // 4 pages each, f16
  EXPECT_GT(info.load_seconds, 0);
  EXPECT_FALSE(info.backend.empty());
  const SamplingOptions sampling = engine->default_sampling();
  EXPECT_EQ(sampling.temperature, 0.8f);
  EXPECT_EQ(sampling.top_k, 40);
}

// Whole, in chunks, token by token: the same logits.
TEST(Engine, ChunksDoNotMatter) {
  const Ids ids = long_prompt(150);
  const auto whole = load({.cache_type_k = "f32", .cache_type_v = "f32"});
  const std::vector<float> wanted = whole->forward(ids);
  for (const int chunk : {1, 7, 32, 100}) {
    const auto engine = load({.cache_type_k = "f32", .cache_type_v = "f32", .chunk = chunk});
    EXPECT_LT(max_difference(engine->forward(ids), wanted), 1e-4) << chunk;
  }
  const SequenceId id = whole->create_sequence();
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::vector<float> logits = one_step(*whole, id, {ids[i]});
    EXPECT_LT(max_difference(logits, row(wanted, i, *whole)), 1e-4) << i;
  }
}

// Sequences of different lengths, joining and leaving, prompts beside single tokens, in a chunk
// that does not hold them all: each gets what it gets alone.
TEST(Engine, BatchesDoNotMatter) {
  const auto engine =
      load({.cache_type_k = "f32", .cache_type_v = "f32", .sequences = 4, .chunk = 40});
  struct Running {
    SequenceId id;
    Ids ids;
    std::vector<float> alone;  // logits of all of `ids`
    size_t done = 0;
  };
  std::mt19937 random(9);
  std::vector<Running> running;
  int compared = 0;
  for (int round = 0; round < 30; ++round) {
    if (running.size() < 5) {
      Running r{0, random_prompt(random, 5 + static_cast<int>(random() % 80)), {}};
      r.alone = engine->forward(r.ids);
      r.id = engine->create_sequence();
      running.push_back(std::move(r));
    }
    std::vector<StepInput> inputs;
    for (Running& r : running) {
      const size_t left = r.ids.size() - r.done;
      const size_t count = random() % 2 == 0 ? 1 : 1 + random() % left;
      inputs.push_back({r.id, std::span(r.ids).subspan(r.done, count),
                        random() % 3 == 0 ? StepWant::kAllLogits : StepWant::kLastLogits});
    }
    const std::vector<StepOutput> outputs = engine->step(inputs);
    ASSERT_EQ(outputs.size(), inputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      Running& r = running[i];
      ASSERT_FALSE(outputs[i].error) << outputs[i].error->what();
      ASSERT_EQ(outputs[i].sequence, r.id);
      const size_t count = inputs[i].tokens.size();
      const size_t rows = inputs[i].want == StepWant::kAllLogits ? count : 1;
      r.done += count;
      const auto wanted = std::span(r.alone).subspan((r.done - rows) * 8192, rows * 8192);
      EXPECT_LT(max_difference(outputs[i].values, wanted), 1e-4);
      EXPECT_EQ(engine->sequence_length(r.id), static_cast<int>(r.done));
      ++compared;
    }
    std::erase_if(running, [&](const Running& r) {
      if (r.done < r.ids.size()) return false;
      engine->free_sequence(r.id);
      return true;
    });
  }
  EXPECT_GT(compared, 60);
}

TEST(Engine, TruncatingForgets) {
  const auto engine = load();
  const Ids ids = long_prompt(70);
  const SequenceId id = engine->create_sequence();
  const std::vector<float> first = one_step(*engine, id, ids);
  one_step(*engine, id, {5, 6, 7});
  engine->truncate_sequence(id, 40);
  EXPECT_EQ(engine->sequence_length(id), 40);
  const std::vector<float> again = one_step(*engine, id, Ids(ids.begin() + 40, ids.end()));
  EXPECT_LT(max_difference(again, first), 1e-4);
  EXPECT_THROW(engine->truncate_sequence(id, 71), Error);
  EXPECT_THROW(engine->truncate_sequence(id, -1), Error);
}

TEST(Engine, ForksGoTheirOwnWays) {
  const auto engine = load({.context = 128, .sequences = 1});  // 4 pages
  const Ids ids = long_prompt(70);
  const SequenceId trunk = engine->create_sequence();
  one_step(*engine, trunk, ids);  // 3 pages
  const SequenceId fork = engine->fork_sequence(trunk, 64);
  EXPECT_EQ(engine->sequence_length(fork), 64);
  const Ids rest(ids.begin() + 64, ids.end());
  const std::vector<float> of_fork = one_step(*engine, fork, rest);  // the fourth
  engine->truncate_sequence(trunk, 64);
  EXPECT_LT(max_difference(one_step(*engine, trunk, rest), of_fork), 1e-5);
  EXPECT_THROW(engine->fork_sequence(trunk, 71), Error);

  // A shared page in mid-page: whoever writes first gets a copy, and both stay right.
  engine->truncate_sequence(trunk, 50);
  engine->free_sequence(fork);
  const SequenceId middle = engine->fork_sequence(trunk, 50);
  one_step(*engine, middle, {1, 2, 3});
  const Ids other(ids.begin() + 50, ids.end());
  EXPECT_LT(max_difference(one_step(*engine, trunk, other), of_fork), 1e-4);
}

// ---- what fails alone
TEST(Engine, BadInputsFailAloneAndLeaveTheirSequences) {
  const auto engine = load({.context = 64, .sequences = 3});
  const Ids good = long_prompt(20);
  const std::vector<float> wanted = engine->forward(good);
  const Ids bad = {1, 2, 8192};
  const Ids negative = {-1};
  const Ids many(60, 5);
  const Ids none;
  std::vector<SequenceId> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(engine->create_sequence());
  one_step(*engine, ids[2], {1, 2, 3, 4, 5});
  const std::vector<StepInput> inputs = {
      {ids[0], bad},
      {ids[1], good},
      {ids[2], many},
      {999, good},
      {ids[3], none},
      {ids[1], good},
      {ids[4], negative, StepWant::kAllLogits},
  };
  const std::vector<StepOutput> outputs = engine->step(inputs);
  const std::vector<std::string> messages = {"token 2 of the step: found 8192, allowed 0 to 8191",
                                             "",
                                             "context full: 5 tokens and 60 more, allowed 64",
                                             "sequence 999: there is none",
                                             "a step of no tokens",
                                             "occurs more than once",
                                             "token 0 of the step: found -1"};
  for (size_t i = 0; i < outputs.size(); ++i) {
    EXPECT_EQ(outputs[i].sequence, inputs[i].sequence);
    if (messages[i].empty()) continue;
    ASSERT_TRUE(outputs[i].error) << i;
    EXPECT_EQ(outputs[i].error->code(), ErrorCode::kUsage);
    EXPECT_THAT(outputs[i].error->what(), HasSubstr(messages[i]));
    EXPECT_TRUE(outputs[i].values.empty());
  }
  ASSERT_FALSE(outputs[1].error);
  EXPECT_LT(max_difference(outputs[1].values, row(wanted, 19, *engine)), 1e-4);
  EXPECT_EQ(engine->sequence_length(ids[0]), 0);
  EXPECT_EQ(engine->sequence_length(ids[1]), 20);
  EXPECT_EQ(engine->sequence_length(ids[2]), 5);
  one_step(*engine, ids[0], good);
}

TEST(Engine, AFullCacheFailsTheOneThatCameTooLate) {
  const auto engine = load({.context = 64, .sequences = 1});  // 2 pages
  const SequenceId a = engine->create_sequence();
  const SequenceId b = engine->create_sequence();
  one_step(*engine, a, long_prompt(30));
  const Ids prompt = long_prompt(40);
  const Ids one = {7};
  const std::vector<StepInput> inputs = {{b, prompt}, {a, one}};
  const std::vector<StepOutput> outputs = engine->step(inputs);
  ASSERT_TRUE(outputs[0].error);
  EXPECT_EQ(outputs[0].error->code(), ErrorCode::kOutOfMemory);
  EXPECT_THAT(outputs[0].error->what(),
              HasSubstr("KV cache full: 0 tokens and 40 more, free are 1"));
  EXPECT_FALSE(outputs[1].error);
  EXPECT_EQ(engine->sequence_length(b), 0);
  EXPECT_EQ(engine->sequence_length(a), 31);
  try {
    engine->create_sequence(64);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
  }
  engine->free_sequence(a);
  EXPECT_FALSE(error_of(*engine, b, prompt));
}

TEST(Engine, UnknownSequencesAreRefused) {
  const auto engine = load();
  const SequenceId id = engine->create_sequence();
  engine->free_sequence(id);
  EXPECT_THROW(engine->free_sequence(id), Error);
  EXPECT_THROW(engine->sequence_length(id), Error);
  EXPECT_THROW(engine->fork_sequence(id, 0), Error);
  EXPECT_THROW(engine->create_sequence(1025), Error);
  EXPECT_THROW(engine->create_sequence(-1), Error);
  engine->cancel(id);  // whoever cancels may come too late
  EXPECT_NE(engine->create_sequence(), id);
}

// ---- cancelling
TEST(Engine, CancelledBeforeTheStep) {
  const auto engine = load({.sequences = 2});
  const SequenceId a = engine->create_sequence();
  const SequenceId b = engine->create_sequence();
  one_step(*engine, a, {1, 2, 3});
  engine->cancel(a);
  const Ids tokens = {4, 5};
  const std::vector<StepInput> inputs = {{a, tokens}, {b, tokens}};
  for (int i = 0; i < 2; ++i) {
    const std::vector<StepOutput> outputs = engine->step(inputs);
    ASSERT_TRUE(outputs[0].error);
    EXPECT_EQ(outputs[0].error->code(), ErrorCode::kCancelled);
    EXPECT_FALSE(outputs[1].error);
    EXPECT_EQ(engine->sequence_length(a), 3);
  }
}

TEST(Engine, CancelledFromAnotherThreadInMidStep) {
  const auto engine = load({.sequences = 2, .chunk = 2});
  const Ids tokens = long_prompt(1000);
  const Ids little = long_prompt(10);
  const std::vector<float> wanted = engine->forward(little);
  const SequenceId a = engine->create_sequence();
  const SequenceId b = engine->create_sequence();
  std::atomic<bool> stepping = false;
  std::thread other([&] {
    while (!stepping) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    engine->cancel(a);
  });
  stepping = true;
  const std::vector<StepInput> inputs = {{a, tokens}, {b, little}};
  const std::vector<StepOutput> outputs = engine->step(inputs);
  other.join();
  ASSERT_TRUE(outputs[0].error) << "500 chunks took less than 20 ms";
  EXPECT_EQ(outputs[0].error->code(), ErrorCode::kCancelled);
  EXPECT_EQ(engine->sequence_length(a), 0);
  ASSERT_FALSE(outputs[1].error);
  EXPECT_LT(max_difference(outputs[1].values, row(wanted, 9, *engine)), 1e-4);
}

TEST(Engine, CancellingRacesWithEverything) {
  const auto engine = load({.sequences = 2, .chunk = 4});
  std::atomic<SequenceId> current = 0;
  std::atomic<bool> done = false;
  std::thread other([&] {
    for (int i = 0; !done; ++i) {
      engine->cancel(current - i % 3);
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
  });
  const Ids tokens = long_prompt(12);
  int cancelled = 0;
  for (int i = 0; i < 200; ++i) {
    const SequenceId id = engine->create_sequence();
    current = id;
    const std::optional<Error> error = error_of(*engine, id, tokens);
    EXPECT_TRUE(!error || error->code() == ErrorCode::kCancelled);
    EXPECT_EQ(engine->sequence_length(id), error ? 0 : 12);
    cancelled += error.has_value();
    engine->free_sequence(id);
  }
  done = true;
  other.join();
  EXPECT_NO_THROW(engine->forward(tokens));
  EXPECT_LE(cancelled, 200);
}

// ---- options
TEST(Engine, RefusesBadLoadOptionsByName) {
  const auto refused = [](const LoadOptions& options, std::string_view text) {
    try {
      load(options);
      ADD_FAILURE() << text << " accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(std::string(text)));
    }
  };
  refused({.device = "abacus"}, "device: found");
  refused({.activations = "int4"}, "activations: found int4");
  refused({.cache_type_k = "q4_0"}, "cache_type_k: found q4_0");
  refused({.cache_type_v = "x\n"}, "cache_type_v: found x\\x0a");
  refused({.context = 1025}, "context: found 1025, allowed 1 to 1024");
  refused({.context = -1}, "context: found -1");
  refused({.sequences = 0}, "sequences: found 0");
  refused({.chunk = 0}, "chunk: found 0");
}

TEST(Engine, FilesThatAreNotThereAreNamed) {
  try {
    Engine::load("/nowhere/model.upg");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/model.upg"));
  }
}

TEST(Engine, ForwardTakesWhatFits) {
  const auto engine = load({.context = 40});
  EXPECT_EQ(engine->forward(Ids(40, 3)).size(), 40u * 8192);
  EXPECT_THROW(engine->forward(Ids(41, 3)), Error);
  EXPECT_THROW(engine->forward(Ids{}), Error);
  EXPECT_THROW(engine->forward(Ids{8192}), Error);
}

// What the head reads: its products with a unit row of the head are the logits, so a row of hidden
// states differs from row to row and is the same whatever else is in the step.
TEST(Engine, HiddenStatesAndStepsThatWantNothing) {
  const auto engine = load({.chunk = 24});
  const Ids ids = long_prompt(50);
  const SequenceId a = engine->create_sequence();
  const SequenceId b = engine->create_sequence();
  const std::vector<StepInput> whole = {{a, ids, StepWant::kHidden}};
  const std::vector<StepOutput> first = engine->step(whole);
  ASSERT_FALSE(first[0].error);
  const auto width = static_cast<size_t>(engine->info().hidden);
  ASSERT_EQ(first[0].values.size(), ids.size() * width);
  const std::vector<float> states(first[0].values.begin(), first[0].values.end());
  const std::span<const int32_t> all = ids;
  const std::vector<StepInput> begin = {{b, all.first(30), StepWant::kNothing}};
  EXPECT_TRUE(engine->step(begin)[0].values.empty());
  const std::vector<StepInput> rest = {{b, all.subspan(30), StepWant::kHidden}, {a, all.first(3)}};
  const std::vector<StepOutput> second = engine->step(rest);
  EXPECT_LT(max_difference(second[0].values, std::span(states).subspan(30 * width)), 1e-3);
  EXPECT_EQ(second[1].values.size(), static_cast<size_t>(engine->info().vocabulary));
  EXPECT_GT(max_difference(std::span(states).first(width), std::span(states).last(width)), 0.1);
}

}  // namespace
}  // namespace upg::runtime
