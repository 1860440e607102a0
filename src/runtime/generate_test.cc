// generate(): the reference's texts, stop strings, whole characters, prompts that are held already.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "base/text.h"
#include "runtime/engine_test_support.h"

namespace upg::runtime {
namespace {

using testing::HasSubstr;

template <typename Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "accepted";
  return {ErrorCode::kIo, "accepted"};
}

class Generate : public testing::Test {
 protected:
  static void SetUpTestSuite() { shared_ = load({.sequences = 2}).release(); }
  static void TearDownTestSuite() {
    delete shared_;
    shared_ = nullptr;
  }
  Engine& engine() { return *shared_; }

  // What generate() returns and what it streamed must be one.
  GenerateResult run(std::string_view prompt, const GenerateOptions& options) {
    std::string streamed;
    Ids ids;
    GenerateResult result = engine().generate(prompt, options, [&](const GeneratedToken& token) {
      EXPECT_EQ(base::valid_utf8_prefix(token.text), token.text.size());
      streamed += token.text;
      ids.push_back(token.id);
      return true;
    });
    EXPECT_EQ(result.text, streamed);
    if (result.finish == FinishReason::kLength) {
      EXPECT_EQ(result.ids, ids);
    }
    return result;
  }

 private:
  static Engine* shared_;
};
Engine* Generate::shared_ = nullptr;

TEST_F(Generate, TheReferencesTextFromText) {
  int texts = 0;
  for (const Golden& golden : goldens()) {
    if (golden.prompt.empty()) continue;
    EXPECT_EQ(engine().encode(golden.prompt), golden.ids);
    const GenerateResult result = run(golden.prompt, greedy(48));
    EXPECT_EQ(result.ids, golden.greedy);
    EXPECT_EQ(result.text, golden.greedy_text);
    EXPECT_EQ(result.finish, FinishReason::kLength);
    EXPECT_GT(result.prompt_seconds, 0);
    EXPECT_GT(result.generate_seconds, 0);
    ++texts;
  }
  EXPECT_EQ(texts, 5);
}

TEST_F(Generate, ConversationsAsTheModelWritesThem) {
  EXPECT_EQ(engine().info().chat_template, "phi4");
  int chats = 0;
  for (const Golden& golden : goldens()) {
    if (golden.messages.empty()) continue;
    const std::string text = engine().apply_chat_template(golden.messages);
    EXPECT_EQ(engine().encode(text, false), golden.ids);
    EXPECT_EQ(engine().apply_chat_template(golden.messages, "phi4"), text);
    const GenerateResult result = engine().generate(golden.ids, greedy(48));
    EXPECT_EQ(engine().decode(result.ids, false), golden.greedy_text);
    EXPECT_EQ(result.text, engine().decode(result.ids));
    ++chats;
  }
  EXPECT_EQ(chats, 2);
  const Error error = error_of([&] { engine().apply_chat_template({}, "none"); });
  EXPECT_EQ(error.code(), ErrorCode::kUsage);
  EXPECT_THAT(error.what(), HasSubstr("chat template: found none, allowed phi4"));
}

TEST_F(Generate, EndOfTextStops) {
  for (const Golden& golden : goldens()) {
    const auto& stop_ids = engine().info().stop_ids;
    const auto end = std::find_first_of(golden.greedy.begin(), golden.greedy.end(),
                                        stop_ids.begin(), stop_ids.end());
    if (end == golden.greedy.end()) continue;
    GenerateOptions options = greedy(48);
    options.ignore_end_of_text = false;
    const GenerateResult result = engine().generate(golden.ids, options);
    EXPECT_EQ(result.finish, FinishReason::kStop);
    EXPECT_EQ(result.ids, Ids(golden.greedy.begin(), end));
    EXPECT_EQ(result.text, engine().decode(result.ids));
    return;
  }
  FAIL() << "no golden case ends";
}

TEST_F(Generate, StopStringsAreNeverShown) {
  const std::string prompt = goldens()[0].prompt;
  const std::string whole = run(prompt, greedy(48)).text;
  // Within a token, across tokens, and one of which only a part occurs.
  for (const std::string stop : {"oon", "moon was shining b", "brightly, and the moon sh"}) {
    GenerateOptions options = greedy(48);
    options.stop = {"never said", stop};
    const GenerateResult result = run(prompt, options);
    ASSERT_NE(whole.find(stop), std::string::npos) << stop;
    EXPECT_EQ(result.text, whole.substr(0, whole.find(stop)));
    EXPECT_EQ(result.finish, FinishReason::kStop);
    EXPECT_LT(result.ids.size(), 48u);
  }
  GenerateOptions options = greedy(48);
  options.stop = {whole.substr(whole.size() - 9) + " that never came"};
  EXPECT_EQ(run(prompt, options).text, whole);  // what was held back comes at the end
}

TEST_F(Generate, SameSeedSameText) {
  GenerateOptions options;
  options.max_tokens = 24;
  options.sampling.seed = 11;
  options.sampling.temperature = 1.2f;
  const std::string first = run("Once upon a time", options).text;
  EXPECT_EQ(run("Once upon a time", options).text, first);
  options.sampling.seed = 12;
  EXPECT_NE(run("Once upon a time", options).text, first);
}

TEST_F(Generate, StreamsWholeCharacters) {
  GenerateOptions options;  // very random text: many broken characters
  options.sampling.temperature = 50;
  options.sampling.top_k = 0;
  options.sampling.top_p = 1;
  options.sampling.min_p = 0;
  options.ignore_end_of_text = true;
  options.max_tokens = 100;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    options.sampling.seed = seed;
    const GenerateResult result = run("é", options);
    EXPECT_EQ(result.text, engine().decode(result.ids));
  }
  // Every byte of a character is a token of its own here.
  const Ids bytes = engine().encode("\u4e16\U0001f600");
  ASSERT_GT(bytes.size(), 2u);
  for (const int32_t id : bytes) options.sampling.logit_bias.emplace_back(id, 1e6f);
  const GenerateResult result = run("x", options);
  EXPECT_EQ(result.text, engine().decode(result.ids));
}

TEST_F(Generate, BiasAndPenaltiesReachTheSampler) {
  GenerateOptions options = greedy(8);
  options.sampling.logit_bias = {{100, 1000.0f}};
  EXPECT_EQ(engine().generate(goldens()[0].ids, options).ids, Ids(8, 100));
  options.sampling.logit_bias.clear();
  options.sampling.presence_penalty = 1000;  // nothing twice, the prompt included
  const GenerateResult result = engine().generate(goldens()[0].ids, options);
  Ids all = goldens()[0].ids;
  all.insert(all.end(), result.ids.begin(), result.ids.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end());
}

TEST_F(Generate, TheCallbackEndsIt) {
  int calls = 0;
  const GenerateResult result = engine().generate(
      goldens()[0].prompt, greedy(48), [&](const GeneratedToken&) { return ++calls < 5; });
  EXPECT_EQ(result.finish, FinishReason::kCallback);
  EXPECT_EQ(result.ids, Ids(goldens()[0].greedy.begin(), goldens()[0].greedy.begin() + 5));
  EXPECT_EQ(calls, 5);
}

TEST(GeneratePrompt, IsToldOfChunkByChunk) {
  const auto engine = load({.chunk = 16});
  const Ids prompt = long_prompt(50);
  const Ids wanted = engine->generate(prompt, greedy(4)).ids;
  GenerateOptions options = greedy(4);
  std::vector<int> told;
  options.on_prompt = [&](int done, int total) {
    EXPECT_EQ(total, 50);
    told.push_back(done);
    return true;
  };
  EXPECT_EQ(engine->generate(prompt, options).ids, wanted);
  EXPECT_EQ(told, (std::vector<int>{16, 32, 48, 50}));

  options.on_prompt = [](int done, int) { return done < 32; };
  const SequenceId id = engine->create_sequence();
  const GenerateResult ended = engine->generate(id, prompt, options);
  EXPECT_EQ(ended.finish, FinishReason::kCallback);
  EXPECT_TRUE(ended.ids.empty());
  const GenerateResult resumed = engine->generate(id, prompt, greedy(4));
  EXPECT_EQ(resumed.cached_tokens, 32);
  EXPECT_EQ(resumed.ids, wanted);
}

TEST_F(Generate, NoTokensIsOnlyThePrompt) {
  const SequenceId id = engine().create_sequence();
  const GenerateResult result = engine().generate(id, goldens()[0].ids, greedy(0));
  EXPECT_TRUE(result.ids.empty());
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_EQ(engine().sequence_length(id), static_cast<int>(goldens()[0].ids.size()));
  engine().free_sequence(id);
}

// ---- a sequence of the caller's
TEST_F(Generate, WhatTheSequenceHoldsIsNotComputedAgain) {
  const Golden& golden = goldens()[0];
  const SequenceId id = engine().create_sequence();
  const GenerateResult first = engine().generate(id, golden.ids, greedy(20));
  EXPECT_EQ(first.cached_tokens, 0);
  // Prompt and answer are there, but for the answer's last token.
  const int held = static_cast<int>(golden.ids.size()) + 19;
  EXPECT_EQ(engine().sequence_length(id), held);

  // The conversation goes on: the answer is part of the next prompt.
  Ids next = golden.ids;
  next.insert(next.end(), first.ids.begin(), first.ids.end());
  const GenerateResult second = engine().generate(id, next, greedy(28));
  EXPECT_EQ(second.cached_tokens, held);
  EXPECT_EQ(second.ids, Ids(golden.greedy.begin() + 20, golden.greedy.end()));

  // The same prompt again: only its last token is computed.
  const GenerateResult again = engine().generate(id, next, greedy(28));
  EXPECT_EQ(again.cached_tokens, static_cast<int>(next.size()) - 1);
  EXPECT_EQ(again.ids, second.ids);

  // Another end: what differs is forgotten.
  Ids other(golden.ids.begin(), golden.ids.begin() + 5);
  other.push_back(777);
  const GenerateResult changed = engine().generate(id, other, greedy(5));
  EXPECT_EQ(changed.cached_tokens, 5);
  EXPECT_EQ(changed.ids, engine().generate(other, greedy(5)).ids);
  EXPECT_EQ(engine().sequence_length(id), 6 + 4);
  engine().free_sequence(id);
}

TEST_F(Generate, ReusedPrefixesGiveEqualLogits) {
  const Ids ids = long_prompt(90);
  const std::vector<float> wanted = engine().forward(ids);
  const SequenceId id = engine().create_sequence();
  engine().generate(id, std::span(ids).first(60), greedy(10));
  const GenerateResult result = engine().generate(id, ids, greedy(0));
  EXPECT_EQ(result.cached_tokens, 60);
  engine().truncate_sequence(id, 89);
  const StepInput input{id, std::span(ids).last(1)};
  const auto outputs = engine().step({&input, 1});
  EXPECT_LT(max_difference(outputs[0].values, std::span(wanted).last(8192)), 1e-4);
  engine().free_sequence(id);
}

TEST_F(Generate, CancelledSequencesSayNothing) {
  const SequenceId id = engine().create_sequence();
  engine().cancel(id);
  const GenerateResult result = engine().generate(id, goldens()[0].ids, greedy(5));
  EXPECT_EQ(result.finish, FinishReason::kCancelled);
  EXPECT_TRUE(result.ids.empty());
  engine().free_sequence(id);
}

TEST_F(Generate, CancellingEndsTheText) {
  const SequenceId id = engine().create_sequence();
  int calls = 0;
  std::thread other;
  const GenerateResult result =
      engine().generate(id, goldens()[0].ids, greedy(-1), [&](const GeneratedToken&) {
        if (++calls == 3) other = std::thread([&] { engine().cancel(id); });
        return true;
      });
  other.join();
  EXPECT_EQ(result.finish, FinishReason::kCancelled);
  EXPECT_GE(result.ids.size(), 3u);
  EXPECT_LT(result.ids.size(), 900u);
  EXPECT_EQ(result.text, engine().decode(result.ids));
  engine().free_sequence(id);
}

// ---- models without texts of their own
class Bare : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / fmt::format("upg-bare-{}", ::getpid());
    std::filesystem::create_directory(folder_);
    copy("config.json");
    copy("model.safetensors");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void copy(const std::string& name) {
    std::filesystem::copy_file(model_folder() + "/" + name, folder_ / name);
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  std::filesystem::path folder_;
};

TEST_F(Bare, WithoutTokenizerIdsWillDo) {
  const auto engine = Engine::load(folder_, {.threads = 1});
  const Golden& golden = goldens()[0];
  const GenerateResult result = engine->generate(golden.ids, greedy(8));
  EXPECT_EQ(result.ids, Ids(golden.greedy.begin(), golden.greedy.begin() + 8));
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(engine->info().chat_template, "");
  GenerateOptions with_stop = greedy(8);
  with_stop.stop = {"x"};
  for (const Error& error :
       {error_of([&] { engine->encode("x"); }), error_of([&] { engine->decode(Ids{1}); }),
        error_of([&] { engine->generate("x"); }),
        error_of([&] { engine->generate(Ids{1}, with_stop); })}) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr(folder_.string() + ": it carries no tokenizer"));
  }
  const Error error = error_of([&] { engine->apply_chat_template({}); });
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(error.what(), HasSubstr("chat template is unknown; choose one of phi4"));
}

TEST_F(Bare, AnUnknownTemplateLeavesTheRest) {
  copy("tokenizer.json");
  write("tokenizer_config.json", R"({"chat_template": "{{ messages[0].role }}!"})");
  write("generation_config.json", R"({"temperature": 0.25, "eos_token_id": 7})");
  const auto engine = Engine::load(folder_, {.threads = 1});
  EXPECT_EQ(engine->info().chat_template, "");
  EXPECT_EQ(engine->generate(goldens()[0].prompt, greedy(3)).prompt_tokens, 8);
  EXPECT_EQ(engine->default_sampling().temperature, 0.25f);
  EXPECT_THAT(engine->info().stop_ids, testing::Contains(7));
  const std::vector<ChatMessage> messages = {{"user", "Hello"}};
  EXPECT_EQ(error_of([&] { engine->apply_chat_template(messages); }).code(),
            ErrorCode::kUnsupported);
  EXPECT_EQ(engine->apply_chat_template(messages, "phi4"),
            "<|im_start|>user<|im_sep|>Hello<|im_end|><|im_start|>assistant<|im_sep|>");
  const std::vector<ChatMessage> call = {
      {"user", "Hello"}, {"assistant", "", {{"1", "wave", "{}"}}}, {"tool", "done", {}, "1"}};
  EXPECT_EQ(engine->apply_chat_template(call, "phi4-mini", R"([{"name": "wave"}])"),
            "<|system|><|tool|>[{\"name\": \"wave\"}]<|/tool|><|end|><|user|>Hello<|end|>"
            "<|assistant|><|tool_call|>[{\"name\": \"wave\", \"arguments\": {}}]<|/tool_call|>"
            "<|end|><|tool_response|>done<|end|><|assistant|>");
}

TEST_F(Bare, BrokenPartsAreNamed) {
  write("generation_config.json", R"({"top_p": 3})");
  const Error sampling = error_of([&] { Engine::load(folder_); });
  EXPECT_EQ(sampling.code(), ErrorCode::kInvalidData);
  EXPECT_THAT(sampling.what(),
              HasSubstr((folder_ / "generation_config.json").string() + ": top_p: found 3"));
  write("generation_config.json", "{}");
  write("tokenizer.json", R"({"model": {"type": "Abacus"}})");
  const Error tokenizer = error_of([&] { Engine::load(folder_); });
  EXPECT_THAT(tokenizer.what(), HasSubstr((folder_ / "tokenizer.json").string()));
}

// ---- limits
TEST(GenerateLimits, TheContextEndsTheText) {
  const auto engine = load({.context = 40});
  const Golden& golden = goldens()[0];
  const GenerateResult result = engine->generate(golden.ids, greedy(-1));
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_EQ(result.ids.size(), 40 - golden.ids.size() + 1);  // the last has no place to follow
  const GenerateResult longer = engine->generate(golden.ids, greedy(1000));
  EXPECT_EQ(longer.ids, result.ids);
  EXPECT_EQ(engine->generate(Ids(40, 7), greedy(5)).ids.size(), 1u);
}

TEST(GenerateLimits, AFullCacheEndsTheText) {
  const auto engine = load({.context = 64});
  const SequenceId other = engine->create_sequence();
  const Ids filler = long_prompt(20);
  const StepInput input{other, filler};
  ASSERT_FALSE(engine->step({&input, 1})[0].error);
  const SequenceId id = engine->create_sequence();
  const GenerateResult result = engine->generate(id, goldens()[0].ids, greedy(-1));
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_EQ(result.ids.size(), 32 - goldens()[0].ids.size() + 1);
}

TEST_F(Generate, RefusesWhatCannotBe) {
  const auto with = [&](auto set) {
    GenerateOptions options = greedy(3);
    set(options);
    return error_of([&] { engine().generate(Ids{5}, options); });
  };
  EXPECT_THAT(with([](auto& o) { o.max_tokens = -2; }).what(), HasSubstr("max_tokens: found -2"));
  EXPECT_THAT(with([](auto& o) { o.stop = {""}; }).what(), HasSubstr("stop: found an empty"));
  EXPECT_THAT(with([](auto& o) { o.sampling.top_p = 2; }).what(), HasSubstr("top_p: found 2"));
  EXPECT_THAT(error_of([&] { engine().generate(Ids(1025, 5)); }).what(),
              HasSubstr("prompt: found 1025 tokens, the context has room for 1024"));
  EXPECT_THAT(error_of([&] { engine().generate(Ids{}); }).what(), HasSubstr("found no tokens"));
  const Error empty = error_of([&] { engine().generate(""); });
  EXPECT_EQ(empty.code(), ErrorCode::kUsage);
  EXPECT_THAT(empty.what(), HasSubstr("prompt: found no tokens"));
  EXPECT_THAT(error_of([&] { engine().generate(Ids{9999}); }).what(), HasSubstr("found 9999"));
  EXPECT_NO_THROW(engine().generate(Ids{5}, greedy(1)));  // nothing of it stays behind
}

// Only even ids, and an end after five of them.
class EvenIds : public TokenFilter {
 public:
  explicit EvenIds(std::vector<int32_t> stop_ids) : stop_ids_(std::move(stop_ids)) {}
  bool allows(int32_t id) const override {
    const bool stop = std::count(stop_ids_.begin(), stop_ids_.end(), id) > 0;
    return count_ < 5 ? id % 2 == 0 && !stop : stop;
  }
  void mask(std::span<float> logits) const override {
    for (size_t id = 0; id < logits.size(); ++id) {
      if (!allows(static_cast<int32_t>(id))) logits[id] = -std::numeric_limits<float>::infinity();
    }
  }
  void accept(int32_t id) override {
    EXPECT_TRUE(allows(id));
    ++count_;
  }
  bool ended() const override { return false; }

 private:
  std::vector<int32_t> stop_ids_;
  int count_ = 0;
};

TEST_F(Generate, AFilterDecidesWhatMayCome) {
  GenerateOptions options;
  options.sampling.temperature = 1;
  options.sampling.seed = 5;
  options.filter = std::make_shared<EvenIds>(engine().info().stop_ids);
  const GenerateResult result = engine().generate("It was a dark", options);
  EXPECT_EQ(result.finish, FinishReason::kStop);
  ASSERT_EQ(result.ids.size(), 5U);
  for (const int32_t id : result.ids) EXPECT_EQ(id % 2, 0);
}

TEST_F(Generate, AContinuationOverStepsIsWhatGenerateDoes) {
  GenerateOptions options;
  options.sampling.temperature = 0.9f;
  options.sampling.seed = 11;
  options.max_tokens = 20;
  const Ids prompt = engine().encode("The old house");
  const GenerateResult wanted = engine().generate(prompt, options);
  const auto continuation = engine().continuation(prompt, options);
  const CacheUse before = engine().cache_use();
  const SequenceId id = engine().create_sequence();
  Ids feed = prompt;
  std::string text;
  Ids ids;
  for (bool more = true; more;) {
    const StepInput input{id, feed};
    const Continuation::Next next = continuation->next(engine().step({&input, 1})[0].values);
    text += next.text;
    if (next.part_of_text) ids.push_back(next.id);
    feed = {next.id};
    more = !next.finish;
  }
  EXPECT_EQ(ids, wanted.ids);
  EXPECT_EQ(text, wanted.text);
  EXPECT_LT(engine().cache_use().free_pages, before.free_pages);
  engine().free_sequence(id);
  EXPECT_EQ(engine().cache_use().free_pages, before.free_pages);
}

}  // namespace
}  // namespace upg::runtime
