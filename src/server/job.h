// A request on its way through the scheduler. Private to the scheduler's files.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "server/generation.h"
#include "server/scheduler.h"

namespace upg::server {

class Job {
 public:
  Job(Scheduler& scheduler, int which, GenerationRequest what, std::shared_ptr<GenerationSink> to)
      : choice(which),
        request(std::move(what)),
        sink(std::move(to)),
        tokens(request.prompt),
        submitted(Clock::now()),
        scheduler_(&scheduler) {}

  // From any thread; without effect once it has ended.
  void cancel() noexcept;
  bool cancelled() const noexcept { return cancelled_; }
  // Nothing that comes from outside reaches the scheduler any more.
  void detach() noexcept;
  // The sequence it has in the model, 0 for none. Changed by the scheduler's thread.
  void set_sequence(SequenceId sequence) noexcept;
  SequenceId sequence() const noexcept { return sequence_; }

  int pending() const noexcept { return static_cast<int>(tokens.size()) - computed; }
  bool reads_prompt() const noexcept { return generated == 0; }
  JobState state(bool running) const;
  GenerationTimes times() const;

  const int choice;
  const GenerationRequest request;
  const std::shared_ptr<GenerationSink> sink;
  std::unique_ptr<Continuation> continuation;

  std::vector<int32_t> tokens;  // prompt and answer
  int computed = 0;             // of them, in the cache
  int cached = 0;               // of the prompt, when it began
  int generated = 0;
  bool shares_page = false;  // its last page is another's too, until it writes
  bool ended = false;
  std::vector<double> hidden_sum;
  std::vector<TokenLogprob> prompt_logprobs;

  const Clock::time_point submitted;
  Clock::time_point started = {};
  Clock::time_point first_token = {};
  Clock::time_point last_token = {};

 private:
  std::mutex mutex_;
  Scheduler* scheduler_;
  std::atomic<bool> cancelled_ = false;
  std::atomic<SequenceId> sequence_ = 0;
};

}  // namespace upg::server
