#include "server/scheduler.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <random>

#include "server/testing/fake_model.h"

namespace upg::server {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

// Everything one request heard.
class Collector : public GenerationSink {
 public:
  explicit Collector(int choices = 1) : texts_(static_cast<size_t>(choices)) {
    results_.resize(texts_.size());
  }
  void prompt(int, std::vector<TokenLogprob> logprobs) noexcept override {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(prompt_logprobs_.empty() && pieces_ == 0) << "once, before the first piece";
    prompt_logprobs_ = std::move(logprobs);
  }
  void piece(int choice, GeneratedPiece piece) noexcept override {
    const std::lock_guard lock(mutex_);
    texts_[static_cast<size_t>(choice)] += piece.text;
    if (piece.logprob) logprobs_.push_back(*piece.logprob);
    ++pieces_;
    changed_.notify_all();
  }
  void finished(int choice, GenerationResult result) noexcept override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(results_[static_cast<size_t>(choice)]) << "finished twice";
    results_[static_cast<size_t>(choice)] = std::move(result);
    changed_.notify_all();
  }

  const GenerationResult& wait(int choice = 0) {
    std::unique_lock lock(mutex_);
    const auto& result = results_[static_cast<size_t>(choice)];
    EXPECT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return result.has_value(); }));
    return *result;
  }
  void wait_for_pieces(int count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return pieces_ >= count; }));
  }
  std::string text(int choice = 0) {
    wait(choice);
    return texts_[static_cast<size_t>(choice)];
  }
  const std::vector<TokenLogprob>& logprobs() const { return logprobs_; }
  const std::vector<TokenLogprob>& prompt_logprobs() const { return prompt_logprobs_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> texts_;
  std::vector<std::optional<GenerationResult>> results_;
  std::vector<TokenLogprob> logprobs_;
  std::vector<TokenLogprob> prompt_logprobs_;
  int pieces_ = 0;
};

GenerationRequest request(const FakeModel& model, std::string_view prompt, int tokens) {
  GenerationRequest request;
  request.prompt = model.encode(prompt, false);
  request.options.max_tokens = tokens;
  return request;
}

std::string long_text(size_t length, char salt = 'x') {
  std::string text;
  while (text.size() < length) text += fmt::format("{}{} ", salt, text.size());
  return text.substr(0, length);
}

class SchedulerTest : public testing::Test {
 protected:
  void make(const FakeOptions& fake = {}, const SchedulerOptions& options = {}) {
    scheduler_.reset();
    model_ = std::make_unique<FakeModel>(fake);
    scheduler_ = std::make_unique<Scheduler>(*model_, options, metrics_.model("fake"));
  }
  std::pair<std::shared_ptr<Collector>, std::vector<JobHandle>> submit(
      const GenerationRequest& what, int choices = 1) {
    auto sink = std::make_shared<Collector>(choices);
    auto jobs = scheduler_->submit({&what, 1}, choices, sink);
    return {sink, std::move(jobs)};
  }
  std::vector<float> embedding_of(const GenerationRequest& what) {
    const auto [sink, jobs] = submit(what);
    return sink->wait().embedding;
  }
  // The text of a request that has the model for itself.
  std::string alone(std::string_view prompt, int tokens) {
    FakeModel model({});
    Scheduler scheduler(model, {}, metrics_.model("alone"));
    const auto sink = std::make_shared<Collector>();
    const GenerationRequest what = request(model, prompt, tokens);
    scheduler.submit({&what, 1}, 1, sink);
    return sink->text();
  }
  // Every page is free again once nothing is kept.
  void expect_no_leak() {
    scheduler_.reset();
    EXPECT_EQ(model_->sequences(), 0);
    EXPECT_EQ(model_->cache_use().free_pages, model_->cache_use().pages);
  }

  Metrics metrics_;
  std::unique_ptr<FakeModel> model_;
  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(SchedulerTest, OneRequest) {
  make();
  const auto [sink, jobs] = submit(request(*model_, "hello", 10));
  EXPECT_EQ(sink->text().size(), 10U);
  const GenerationResult& result = sink->wait();
  EXPECT_EQ(result.finish, FinishReason::kLength);
  EXPECT_FALSE(result.error);
  EXPECT_EQ(result.prompt_tokens, 5);
  EXPECT_EQ(result.cached_tokens, 0);
  EXPECT_EQ(result.generated_tokens, 10);
  expect_no_leak();
}

// Who else is there changes nothing of an answer.
TEST_F(SchedulerTest, ManyTogetherSayWhatEachSaysAlone) {
  make({}, {.parallel = 7, .chunk = 64});
  std::vector<std::shared_ptr<Collector>> sinks;
  std::vector<std::string> prompts;
  for (int i = 0; i < 40; ++i) {
    prompts.push_back(
        long_text(static_cast<size_t>(1 + i * 13 % 300), static_cast<char>('a' + i % 5)));
    sinks.push_back(submit(request(*model_, prompts.back(), 5 + i % 17)).first);
  }
  for (int i = 0; i < 40; ++i) {
    const auto at = static_cast<size_t>(i);
    EXPECT_EQ(sinks[at]->text(), alone(prompts[at], 5 + i % 17)) << i;
  }
  expect_no_leak();
}

TEST_F(SchedulerTest, TheNextTurnComputesOnlyWhatIsNew) {
  make();
  const std::string first = long_text(200);
  const auto [one, a] = submit(request(*model_, first, 50));
  const std::string answer = one->text();
  const int64_t before = model_->tokens_computed();
  const auto [two, b] = submit(request(*model_, first + answer + " and now?", 1));
  const GenerationResult& result = two->wait();
  EXPECT_EQ(result.cached_tokens, 249);  // all but the answer's last token, which was never fed
  EXPECT_EQ(model_->tokens_computed() - before, 1 + 9);
  EXPECT_EQ(two->text(), alone(first + answer + " and now?", 1));
  expect_no_leak();
}

TEST_F(SchedulerTest, OneSystemPromptIsComputedOnce) {
  make();
  const std::string system = long_text(1000);
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 8; ++i) {
    sinks.push_back(submit(request(*model_, system + fmt::format("user {}", i), 4)).first);
  }
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(sinks[static_cast<size_t>(i)]->text(), alone(system + fmt::format("user {}", i), 4));
  }
  EXPECT_LT(model_->tokens_computed(), 1000 + 8 * 50);
  expect_no_leak();
}

TEST_F(SchedulerTest, ChoicesShareTheirPrompt) {
  make();
  const auto [sink, jobs] = submit(request(*model_, long_text(500), 6), 5);
  ASSERT_EQ(jobs.size(), 5U);
  for (int choice = 0; choice < 5; ++choice) EXPECT_EQ(sink->text(choice).size(), 6U);
  EXPECT_LT(model_->tokens_computed(), 500 + 5 * 10);
  expect_no_leak();
}

// Pages for two of four: the younger ones wait or are computed again; every text is what it was.
TEST_F(SchedulerTest, AFullCachePreemptsTheYoungest) {
  make({.context = 320, .pages = 20}, {.parallel = 4, .chunk = 64});
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 6; ++i) {
    sinks.push_back(submit(request(*model_, long_text(40, static_cast<char>('a' + i)), 220)).first);
  }
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(sinks[static_cast<size_t>(i)]->text(),
              alone(long_text(40, static_cast<char>('a' + i)), 220))
        << i;
  }
  EXPECT_THAT(metrics_.text(), HasSubstr("upg:num_preemptions_total"));
  expect_no_leak();
}

// A long text to embed is preempted by others that write, and its mean is of each token once.
TEST_F(SchedulerTest, APreemptedEmbeddingIsComputedAnew) {
  make({.context = 640, .pages = 21, .step = milliseconds(1)}, {.parallel = 3, .chunk = 32});
  const auto [a, ja] = submit(request(*model_, long_text(30, 'a'), 300));
  const auto [b, jb] = submit(request(*model_, long_text(30, 'b'), 300));
  b->wait_for_pieces(2);
  GenerationRequest what = request(*model_, long_text(500, 'e'), 0);
  what.embedding = true;
  const std::vector<float> found = embedding_of(what);
  FakeModel fresh({});
  Scheduler scheduler(fresh, {}, metrics_.model("alone"));
  const auto sink = std::make_shared<Collector>();
  scheduler.submit({&what, 1}, 1, sink);
  const std::vector<float> wanted = sink->wait().embedding;
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 1e-6);
  EXPECT_EQ(a->text(), alone(long_text(30, 'a'), 300));
  EXPECT_EQ(b->text(), alone(long_text(30, 'b'), 300));
  expect_no_leak();
}

TEST_F(SchedulerTest, AFullQueueTakesNoMore) {
  make({.step = milliseconds(20)}, {.parallel = 1, .queue = 3});
  std::vector<std::shared_ptr<Collector>> sinks;
  int refused = 0;
  for (int i = 0; i < 20; ++i) {
    auto [sink, jobs] = submit(request(*model_, long_text(10), 3));
    jobs.empty() ? void(++refused) : sinks.push_back(sink);
  }
  EXPECT_GE(refused, 15);
  for (const auto& sink : sinks) EXPECT_EQ(sink->text().size(), 3U);
  expect_no_leak();
}

TEST_F(SchedulerTest, CancelledInTheQueueInThePromptAndWhileWriting) {
  make({.step = milliseconds(5), .token = std::chrono::microseconds(100)}, {.parallel = 2});
  const auto [writing, a] = submit(request(*model_, "w", 4000));
  writing->wait_for_pieces(3);
  const auto [reading, b] = submit(request(*model_, long_text(4000), 10));
  const auto [waiting, c] = submit(request(*model_, "q", 10));
  std::this_thread::sleep_for(milliseconds(30));
  const Clock::time_point begin = Clock::now();
  for (const auto& jobs : {a, b, c}) jobs[0].cancel();
  for (const auto& sink : {writing, reading, waiting}) {
    const GenerationResult& result = sink->wait();
    ASSERT_TRUE(result.error);
    EXPECT_EQ(result.error->code(), ErrorCode::kCancelled);
    EXPECT_FALSE(result.timed_out);
  }
  EXPECT_LT(Clock::now() - begin, milliseconds(250));
  expect_no_leak();
}

// What a user stopped can be gone on from.
TEST_F(SchedulerTest, ACancelledAnswersPrefixIsKept) {
  make({.step = milliseconds(1)});
  const std::string prompt = long_text(300);
  const auto [sink, jobs] = submit(request(*model_, prompt, 2000));
  sink->wait_for_pieces(5);
  jobs[0].cancel();
  sink->wait();
  const auto [again, b] = submit(request(*model_, prompt + "more", 2));
  EXPECT_EQ(again->wait().cached_tokens, 300);
  EXPECT_EQ(again->text(), alone(prompt + "more", 2));
  expect_no_leak();
}

TEST_F(SchedulerTest, DeadlinesHoldInTheQueueAndAtWork) {
  make({.step = milliseconds(5)}, {.parallel = 1});
  GenerationRequest what = request(*model_, "hello", 4000);
  what.deadline = Clock::now() + milliseconds(60);
  const auto [working, a] = submit(what);
  const auto [waiting, b] = submit(what);
  for (const auto& sink : {working, waiting}) EXPECT_TRUE(sink->wait().timed_out);
  expect_no_leak();
}

TEST_F(SchedulerTest, LogprobsOfPromptAndAnswer) {
  make();
  GenerationRequest what = request(*model_, long_text(150), 3);
  what.top_logprobs = 2;
  what.prompt_logprobs = true;
  const auto [sink, jobs] = submit(what);
  sink->wait();
  ASSERT_EQ(sink->prompt_logprobs().size(), 149U);
  ASSERT_EQ(sink->logprobs().size(), 3U);
  for (const TokenLogprob& one : sink->logprobs()) {
    // Of 257 logits one is 10, one 8, the rest 0.
    const double total = std::log(std::exp(10.0) + std::exp(8.0) + 255);
    EXPECT_NEAR(one.logprob, 10 - total, 1e-5);
    ASSERT_EQ(one.top.size(), 2U);
    EXPECT_EQ(one.top[0].first, one.id);
    EXPECT_NEAR(one.top[1].second, 8 - total, 1e-5);
  }
  expect_no_leak();
}

TEST_F(SchedulerTest, NoTokensAskedForAndEmbeddings) {
  make();
  EXPECT_EQ(submit(request(*model_, "abc", 0)).first->text(), "");
  GenerationRequest what = request(*model_, "aaab", 0);
  what.embedding = true;
  const std::vector<float> embedding = embedding_of(what);
  ASSERT_EQ(embedding.size(), 4U);
  // 'a' % 4 = 1 three times, 'b' % 4 = 2 once, of length 1.
  EXPECT_NEAR(embedding[1], 3 / std::sqrt(10.0), 1e-6);
  EXPECT_NEAR(embedding[2], 1 / std::sqrt(10.0), 1e-6);
  expect_no_leak();
}

TEST_F(SchedulerTest, AnErrorOfTheDeviceEndsEverything) {
  make({.step = milliseconds(1)});
  std::atomic<bool> broken = false;
  model_->before_step = [&](auto) {
    if (broken) throw Error(ErrorCode::kDevice, "the device is gone");
  };
  const auto [sink, a] = submit(request(*model_, "x", 4000));
  sink->wait_for_pieces(1);
  broken = true;
  const GenerationResult& result = sink->wait();
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->code(), ErrorCode::kDevice);
  EXPECT_TRUE(scheduler_->state().failed);
  EXPECT_THROW(submit(request(*model_, "y", 1)), Error);
  expect_no_leak();
}

TEST_F(SchedulerTest, AStepWithoutMemoryFailsTheRequestsOfItAndNoOthers) {
  make();
  std::atomic<int> steps = 0;
  model_->before_step = [&](auto) {
    if (++steps == 3) throw Error(ErrorCode::kOutOfMemory, "no memory");
  };
  const auto [sink, jobs] = submit(request(*model_, "x", 100));
  const GenerationResult& result = sink->wait();
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->code(), ErrorCode::kOutOfMemory);
  EXPECT_EQ(submit(request(*model_, "y", 5)).first->text().size(), 5U);
  expect_no_leak();
}

TEST_F(SchedulerTest, StoppingEndsWhatIsUnderWay) {
  make({.step = milliseconds(2)}, {.parallel = 2});
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 5; ++i) sinks.push_back(submit(request(*model_, "go", 4000)).first);
  sinks[0]->wait_for_pieces(2);
  scheduler_.reset();
  for (const auto& sink : sinks) EXPECT_TRUE(sink->wait().error);
  EXPECT_EQ(model_->sequences(), 0);
}

// Submitted, cancelled and timed out from several threads at once: each request ends once, and
// nothing is left.
TEST_F(SchedulerTest, RandomCancelsLeaveNothingBehind) {
  make({.context = 512, .pages = 48}, {.parallel = 5, .queue = 10000, .chunk = 64});
  std::vector<std::thread> threads;
  std::atomic<int> ended = 0;
  constexpr int kEach = 250;
  for (unsigned t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      std::vector<std::shared_ptr<Collector>> sinks;
      for (int i = 0; i < kEach; ++i) {
        GenerationRequest what =
            request(*model_, long_text(1 + random() % 200, static_cast<char>('a' + random() % 3)),
                    static_cast<int>(random() % 40));
        if (random() % 8 == 0)
          what.deadline = Clock::now() + std::chrono::microseconds(random() % 900);
        auto [sink, jobs] = submit(what);
        sinks.push_back(sink);
        if (random() % 3 == 0) {
          std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
          jobs[0].cancel();
        }
      }
      for (const auto& sink : sinks) {
        sink->wait();
        ++ended;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ended, 3 * kEach);
  expect_no_leak();
}

}  // namespace
}  // namespace upg::server
