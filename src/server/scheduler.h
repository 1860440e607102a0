// Continuous batching: one thread that steps a model over all its requests.
//
// Requests join and leave at every step. A step is small enough to be over soon (prompts come in
// parts, StepPlanner), so that nobody waits long for another's prompt and a cancelled request is
// gone soon. Pages of the KV cache are taken as they are needed: first those of kept prefixes, then
// those of the youngest request, which is computed again later.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/generation.h"
#include "server/language_model.h"
#include "server/metrics.h"
#include "server/prefix_store.h"
#include "server/step_plan.h"

namespace upg::server {

struct SchedulerOptions {
  int parallel = 16;            // requests in a step at most
  int queue = 256;              // with so many waiting no more are taken
  int chunk = 512;              // tokens of a step at most: the engine's
  int step_milliseconds = 100;  // what a step with a prompt in it should take
  size_t kept_prefixes = 64;
};

class Job;  // one request, private to scheduler.cc

// To cancel a request with; any thread.
class JobHandle {
 public:
  JobHandle() = default;
  explicit JobHandle(std::shared_ptr<Job> job) : job_(std::move(job)) {}
  void cancel() const noexcept;

 private:
  std::shared_ptr<Job> job_;
};

// For /slots and the metrics.
struct JobState {
  const char* state = "queued";  // queued, prompt, generating
  int prompt_tokens = 0;
  int cached_tokens = 0;
  int computed_tokens = 0;
  int generated_tokens = 0;
  double tokens_per_second = 0;
};
struct SchedulerState {
  std::vector<JobState> jobs;  // running ones first
  int running = 0;
  int waiting = 0;
  CacheUse cache;
  double step_seconds = 0;  // how long the step that is under way has been
  bool failed = false;      // the device is gone: nothing will run any more
};

class Scheduler {
 public:
  // model and metrics must outlive it.
  Scheduler(LanguageModel& model, const SchedulerOptions& options, ModelMetrics& metrics);
  ~Scheduler() { stop(); }
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // `choices` answers to each request, with the seeds seed, seed + 1, ...; the sink hears of each
  // as choice r * choices + c. Returns no job when the queue is full. Throws Error(kUsage) for
  // options out of range, and for a prompt that does not fit. Thread-safe, as all that follows.
  std::vector<JobHandle> submit(std::span<const GenerationRequest> requests, int choices,
                                const std::shared_ptr<GenerationSink>& sink);
  SchedulerState state() const;
  // True when there is nothing to do.
  bool idle() const;
  void cancel_all() noexcept;
  // Ends everything, and the thread. Afterwards it touches neither model nor metrics.
  void stop() noexcept;

 private:
  friend class Job;
  using JobPointer = std::shared_ptr<Job>;

  void run() noexcept;
  bool wait_for_work();
  void admit_nothing(const Error& error);
  void drop_expired();
  void admit();
  bool waits_for_prefix(const Job& job) const;
  bool start(const JobPointer& job);
  Prefix find_prefix(const Job& job);
  void give_back(const Job& job, const Prefix& prefix);
  void step();
  static StepInput input_of(const Job& job, int tokens);
  bool make_room(std::vector<int>& granted);
  bool make_room_for(int pages);
  int pages_needed(const Job& job, int tokens) const;
  void preempt_youngest();
  void take_output(const JobPointer& job, int tokens, const StepOutput& output);
  void add_hidden(Job& job, std::span<const float> states) const;
  void advance(const JobPointer& job, std::span<const float> logits);
  void end(const JobPointer& job, GenerationResult result, bool keep);
  void release(Job& job, bool keep);
  void end_with_error(const JobPointer& job, const Error& error);
  void fail_all(const Error& error);
  void remove_ended();
  StepBudget budget() const;
  void learn(int prompt_tokens, double seconds, bool writers);
  void publish();

  LanguageModel& model_;
  SchedulerOptions options_;
  ModelMetrics& metrics_;
  PrefixStore prefixes_;
  StepPlanner planner_;
  std::vector<JobPointer> running_;  // the oldest first; the scheduler's thread alone

  bool blocked_ = false;               // the next request has to wait for pages
  int generated_ = 0;                  // tokens of the present step
  double seconds_a_prompt_token_ = 0;  // measured; 0: not yet
  double seconds_a_writing_step_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::deque<JobPointer> queue_;
  std::vector<JobPointer> known_;  // running_, for other threads
  SchedulerState state_;           // as published after the last step
  Clock::time_point step_started_ = {};
  bool stopping_ = false;
  bool changed_ = false;  // something was cancelled
  std::thread thread_;
};

}  // namespace upg::server
