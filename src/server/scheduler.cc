#include "server/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "server/job.h"
#include "server/logprobs.h"

namespace upg::server {
namespace {

constexpr int kLeastPromptTokens = 32;    // of a step, however slow: fewer would waste the weights
constexpr int kFirstPromptTokens = 64;    // as long as nothing is known
constexpr int kPromptLogprobTokens = 64;  // of a step: each has a row of logits
constexpr int kWorthWaiting = 32;         // tokens of a prefix that another is computing

GenerationResult with_error(Error error) {
  GenerationResult result;
  result.finish = FinishReason::kCancelled;
  result.error = std::move(error);
  return result;
}

std::vector<float> normalised_mean(const std::vector<double>& sum) {
  double squares = 0;
  for (const double value : sum) squares += value * value;
  const double length = std::sqrt(squares);
  std::vector<float> mean(sum.size());
  for (size_t i = 0; i < sum.size(); ++i) {
    mean[i] = static_cast<float>(length > 0 ? sum[i] / length : 0);
  }
  return mean;
}

std::string_view reason_name(const GenerationResult& result) {
  if (result.timed_out) return "timeout";
  if (result.error) {
    return result.error->code() == ErrorCode::kCancelled ? "cancelled" : "error";
  }
  return result.finish == FinishReason::kStop ? "stop" : "length";
}

}  // namespace

Scheduler::Scheduler(LanguageModel& model, const SchedulerOptions& options, ModelMetrics& metrics)
    : model_(model), options_(options), metrics_(metrics), prefixes_(model, options.kept_prefixes) {
  state_.cache = model.cache_use();
  thread_ = std::thread([this] { run(); });
}

void Scheduler::stop() noexcept {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  cancel_all();
  work_.notify_one();
  thread_.join();
}

std::vector<JobHandle> Scheduler::submit(std::span<const GenerationRequest> requests, int choices,
                                         const std::shared_ptr<GenerationSink>& sink) {
  // Before anything is made: what comes with one request counts as what comes with many.
  const size_t wanted = requests.size() * static_cast<size_t>(choices);
  const auto full = [&] {
    const auto most = static_cast<size_t>(options_.queue);
    return queue_.size() >= most || (!queue_.empty() && queue_.size() + wanted > most);
  };
  {
    const std::lock_guard lock(mutex_);
    if (full()) return {};
  }
  std::vector<JobPointer> jobs;
  for (const GenerationRequest& request : requests) {
    for (int choice = 0; choice < choices; ++choice) {
      GenerationRequest own = request;
      own.options.sampling.seed += static_cast<uint64_t>(choice);
      if (own.make_filter) own.options.filter = own.make_filter();
      const int number = static_cast<int>(jobs.size());
      jobs.push_back(std::make_shared<Job>(*this, number, std::move(own), sink));
      Job& job = *jobs.back();
      if (request.embedding) continue;
      job.continuation = model_.continuation(request.prompt, job.request.options);
    }
  }
  std::vector<JobHandle> handles;
  {
    const std::lock_guard lock(mutex_);
    if (state_.failed || stopping_) {
      throw Error(ErrorCode::kDevice, "the model does not run any more");
    }
    if (full()) return {};
    for (JobPointer& job : jobs) {
      metrics_.queued(static_cast<int>(job->request.prompt.size()));
      handles.emplace_back(job);
      queue_.push_back(std::move(job));
    }
  }
  work_.notify_one();
  return handles;
}

SchedulerState Scheduler::state() const {
  const std::lock_guard lock(mutex_);
  SchedulerState state = state_;
  for (const JobPointer& job : queue_) state.jobs.push_back(job->state(false));
  state.waiting = static_cast<int>(queue_.size());
  if (step_started_ != Clock::time_point{}) {
    state.step_seconds = std::chrono::duration<double>(Clock::now() - step_started_).count();
  }
  return state;
}

bool Scheduler::idle() const {
  const std::lock_guard lock(mutex_);
  return queue_.empty() && state_.running == 0;
}

void Scheduler::cancel_all() noexcept {
  std::vector<JobPointer> jobs;
  {
    const std::lock_guard lock(mutex_);
    jobs.assign(queue_.begin(), queue_.end());
    jobs.insert(jobs.end(), known_.begin(), known_.end());
  }
  for (const JobPointer& job : jobs) job->cancel();
}

// ---- the thread

void Scheduler::run() noexcept {
  while (wait_for_work()) {
    try {
      drop_expired();
      const size_t before = running_.size();
      admit();
      // Whoever looks during the step sees who is in it.
      if (running_.size() > before) publish();
      if (!running_.empty()) step();
    } catch (const Error& error) {
      fail_all(error);
    } catch (const std::exception& error) {
      fail_all(Error(ErrorCode::kOutOfMemory, error.what()));
    }
    remove_ended();
    publish();
  }
  const Error stopped(ErrorCode::kCancelled, "the server is stopping");
  admit_nothing(stopped);
  for (const JobPointer& job : running_) end_with_error(job, stopped);
  remove_ended();
  prefixes_.clear();
  publish();
}

// False when it is time to stop.
bool Scheduler::wait_for_work() {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [&] { return stopping_ || changed_ || !queue_.empty() || !running_.empty(); });
  changed_ = false;
  return !stopping_;
}

void Scheduler::admit_nothing(const Error& error) {
  std::deque<JobPointer> waiting;
  {
    const std::lock_guard lock(mutex_);
    waiting.swap(queue_);
  }
  for (const JobPointer& job : waiting) end_with_error(job, error);
}

// Who was cancelled or has waited too long, in the queue and on the way.
void Scheduler::drop_expired() {
  const Clock::time_point now = Clock::now();
  const auto expired = [&](const JobPointer& job) {
    return job->cancelled() || job->request.deadline <= now;
  };
  std::vector<JobPointer> gone;
  {
    const std::lock_guard lock(mutex_);
    const auto first = std::stable_partition(queue_.begin(), queue_.end(), std::not_fn(expired));
    gone.assign(first, queue_.end());
    queue_.erase(first, queue_.end());
  }
  std::copy_if(running_.begin(), running_.end(), std::back_inserter(gone), expired);
  for (const JobPointer& job : gone) {
    GenerationResult result = with_error(Error(ErrorCode::kCancelled, "cancelled"));
    result.timed_out = !job->cancelled();
    end(job, std::move(result), true);
  }
  remove_ended();
}

void Scheduler::admit() {
  // Who did not fit does not fit until somebody has gone; trying would only empty the prefixes.
  if (blocked_ && !running_.empty()) return;
  while (running_.size() < static_cast<size_t>(options_.parallel)) {
    JobPointer job;
    {
      const std::lock_guard lock(mutex_);
      const auto next = std::find_if(queue_.begin(), queue_.end(), [&](const JobPointer& waiting) {
        return !waits_for_prefix(*waiting);
      });
      if (next == queue_.end()) return;
      job = *next;
      queue_.erase(next);
    }
    if (!start(job)) {
      const std::lock_guard lock(mutex_);
      queue_.push_front(std::move(job));
      return;
    }
  }
}

// Another request computes what this one begins with: afterwards it is there for both.
bool Scheduler::waits_for_prefix(const Job& job) const {
  if (running_.empty()) return false;
  const std::span<const int32_t> usable = std::span(job.tokens).first(job.tokens.size() - 1);
  int there = prefixes_.longest(usable);
  int coming = 0;
  for (const JobPointer& other : running_) {
    const int common = common_prefix(other->tokens, usable);
    there = std::max(there, std::min(common, other->computed));
    if (other->reads_prompt() && !other->request.embedding) coming = std::max(coming, common);
  }
  return coming >= there + kWorthWaiting;
}

// Gives it a sequence, with as much of its prompt as there is. False when the cache has no room for
// it beside the others.
bool Scheduler::start(const JobPointer& job) {
  Prefix prefix;
  if (!job->request.prompt_logprobs && !job->request.embedding) prefix = find_prefix(*job);
  const CacheUse cache = model_.cache_use();
  const auto pages = [&](int tokens) {
    return (tokens + cache.page_tokens - 1) / cache.page_tokens;
  };
  const int needed = pages(static_cast<int>(job->tokens.size())) - pages(prefix.tokens) + 1 +
                     static_cast<int>(running_.size());
  if (!make_room_for(std::min(needed, cache.pages)) && !running_.empty()) {
    if (prefix.sequence != 0) give_back(*job, prefix);
    blocked_ = true;
    return false;
  }
  if (prefix.sequence == 0) prefix.sequence = model_.create_sequence();
  job->set_sequence(prefix.sequence);
  job->computed = prefix.tokens;
  job->shares_page = prefix.tokens % cache.page_tokens != 0;
  if (job->started == Clock::time_point{}) {
    job->started = Clock::now();
    job->cached = prefix.tokens;
    metrics_.prefix(static_cast<int>(job->request.prompt.size()), prefix.tokens);
  }
  running_.push_back(job);
  const std::lock_guard lock(mutex_);
  known_ = running_;
  return true;
}

// The longest there is: of a kept sequence, or a fork of one that another request has.
Prefix Scheduler::find_prefix(const Job& job) {
  const std::span<const int32_t> usable = std::span(job.tokens).first(job.tokens.size() - 1);
  Job* best = nullptr;
  int tokens = prefixes_.longest(usable);
  for (const JobPointer& other : running_) {
    const int common = std::min(common_prefix(other->tokens, usable), other->computed);
    if (common <= tokens) continue;
    tokens = common;
    best = other.get();
  }
  if (best == nullptr) return prefixes_.take(job.tokens);
  best->shares_page = true;  // whichever writes first takes a copy
  return {model_.fork_sequence(best->sequence(), tokens), tokens};
}

void Scheduler::give_back(const Job& job, const Prefix& prefix) {
  const auto end = job.tokens.begin() + prefix.tokens;
  prefixes_.keep(prefix.sequence, {job.tokens.begin(), end});
}

void Scheduler::step() {
  std::vector<int> pending;
  for (const JobPointer& job : running_) pending.push_back(job->pending());
  std::vector<int> granted = planner_.plan(pending, budget());
  for (size_t i = 0; i < running_.size(); ++i) {
    if (running_[i]->request.prompt_logprobs && running_[i]->reads_prompt()) {
      granted[i] = std::min(granted[i], kPromptLogprobTokens);
    }
  }
  if (!make_room(granted)) return;

  std::vector<StepInput> inputs;
  std::vector<JobPointer> jobs;
  int prompt_tokens = 0;
  int writers = 0;
  for (size_t i = 0; i < running_.size(); ++i) {
    if (granted[i] == 0) continue;
    Job& job = *running_[i];
    inputs.push_back(input_of(job, granted[i]));
    jobs.push_back(running_[i]);
    (job.reads_prompt() ? prompt_tokens : writers) += granted[i];
  }
  const Clock::time_point begin = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    step_started_ = begin;
  }
  try {
    const std::vector<StepOutput> outputs = model_.step(inputs);
    learn(prompt_tokens, std::chrono::duration<double>(Clock::now() - begin).count(), writers > 0);
    metrics_.step(prompt_tokens + writers);
    generated_ = 0;
    for (size_t i = 0; i < outputs.size(); ++i) {
      take_output(jobs[i], static_cast<int>(inputs[i].tokens.size()), outputs[i]);
    }
    metrics_.generated(generated_);
  } catch (const Error& error) {
    fail_all(error);
  } catch (const std::bad_alloc&) {
    fail_all(Error(ErrorCode::kOutOfMemory, "out of memory"));
  }
  const std::lock_guard lock(mutex_);
  step_started_ = {};
}

StepInput Scheduler::input_of(const Job& job, int tokens) {
  StepInput input;
  input.sequence = job.sequence();
  input.tokens =
      std::span(job.tokens).subspan(static_cast<size_t>(job.computed), static_cast<size_t>(tokens));
  input.want = StepWant::kNothing;
  if (tokens == job.pending()) input.want = StepWant::kLastLogits;
  if (job.request.embedding) input.want = StepWant::kHidden;
  if (job.request.prompt_logprobs && job.reads_prompt()) input.want = StepWant::kAllLogits;
  // Who wants no logits may have the token chosen where they are.
  if (job.request.top_logprobs < 0) input.continuation = job.continuation.get();
  return input;
}

// Pages for the step: those of kept prefixes, then those of the youngest requests. False when
// nobody is left who could go on.
bool Scheduler::make_room(std::vector<int>& granted) {
  const auto needed = [&] {
    int pages = 0;
    for (size_t i = 0; i < running_.size(); ++i) pages += pages_needed(*running_[i], granted[i]);
    return pages;
  };
  while (!make_room_for(needed())) {
    if (running_.size() == 1) {
      // The cache is smaller than what it alone needs.
      GenerationResult result;
      result.finish = FinishReason::kLength;
      end(running_.front(), std::move(result), false);
      return false;
    }
    preempt_youngest();
    granted.resize(running_.size());
  }
  return !running_.empty();
}

bool Scheduler::make_room_for(int pages) {
  while (model_.cache_use().free_pages < pages) {
    if (!prefixes_.evict()) return false;
  }
  return true;
}

int Scheduler::pages_needed(const Job& job, int tokens) const {
  if (tokens == 0) return 0;
  const int page = state_.cache.page_tokens;
  const auto pages = [page](int count) { return (count + page - 1) / page; };
  return pages(job.computed + tokens) - pages(job.computed) + (job.shares_page ? 1 : 0);
}

// Back into the queue, before all others; what it has written stays, its cache does not.
void Scheduler::preempt_youngest() {
  const JobPointer job = running_.back();
  running_.pop_back();
  model_.free_sequence(job->sequence());
  job->set_sequence(0);
  job->computed = 0;
  job->hidden_sum.clear();
  if (job->reads_prompt()) job->prompt_logprobs.clear();
  metrics_.preempted();
  const std::lock_guard lock(mutex_);
  known_ = running_;
  queue_.push_front(job);
}

void Scheduler::take_output(const JobPointer& pointer, int tokens, const StepOutput& output) {
  Job& job = *pointer;
  if (output.error) {
    end_with_error(pointer, *output.error);
    return;
  }
  const auto first = static_cast<size_t>(job.computed);
  job.computed += tokens;
  job.shares_page = false;
  if (job.request.embedding) add_hidden(job, output.values);
  std::span<const float> logits = output.values;
  if (job.request.prompt_logprobs && job.reads_prompt()) {
    const auto vocabulary = static_cast<size_t>(model_.info().vocabulary);
    for (size_t i = 0; i < static_cast<size_t>(tokens); ++i) {
      if (first + i + 1 >= job.tokens.size()) break;
      job.prompt_logprobs.push_back(token_logprob(logits.subspan(i * vocabulary, vocabulary),
                                                  job.tokens[first + i + 1],
                                                  job.request.top_logprobs));
    }
    logits = logits.last(vocabulary);
  }
  if (job.pending() > 0) return;
  if (!job.prompt_logprobs.empty()) {
    job.sink->prompt(job.choice, std::exchange(job.prompt_logprobs, {}));
  }
  if (job.request.embedding || job.request.options.max_tokens == 0) {
    GenerationResult result;
    result.finish = FinishReason::kLength;
    if (job.request.embedding) result.embedding = normalised_mean(job.hidden_sum);
    end(pointer, std::move(result), !job.request.embedding);
    return;
  }
  try {
    advance(pointer, logits);
  } catch (const Error& error) {
    end_with_error(pointer, error);
  }
}

void Scheduler::add_hidden(Job& job, std::span<const float> states) const {
  const auto width = static_cast<size_t>(model_.info().hidden);
  job.hidden_sum.resize(width);
  for (size_t i = 0; i < states.size(); ++i) job.hidden_sum[i % width] += states[i];
}

// One token more, or the end.
void Scheduler::advance(const JobPointer& pointer, std::span<const float> logits) {
  Job& job = *pointer;
  Continuation::Next next = job.continuation->next(logits);
  const Clock::time_point now = Clock::now();
  if (job.first_token == Clock::time_point{}) {
    job.first_token = now;
    metrics_.first_token(std::chrono::duration<double>(now - job.submitted).count());
  } else {
    metrics_.next_token(std::chrono::duration<double>(now - job.last_token).count());
  }
  job.last_token = now;
  GeneratedPiece piece;
  piece.id = next.id;
  piece.part_of_text = next.part_of_text;
  piece.text = std::move(next.text);
  if (job.request.top_logprobs >= 0 && next.part_of_text) {
    piece.logprob = token_logprob(logits, next.id, job.request.top_logprobs);
  }
  if (next.part_of_text) {
    ++job.generated;
    ++generated_;
    job.tokens.push_back(next.id);
  }
  job.sink->piece(job.choice, std::move(piece));
  if (!next.finish) return;
  GenerationResult result;
  result.finish = *next.finish;
  end(pointer, std::move(result), true);
}

void Scheduler::end(const JobPointer& pointer, GenerationResult result, bool keep) {
  Job& job = *pointer;
  if (std::exchange(job.ended, true)) return;
  job.detach();
  blocked_ = false;
  release(job, keep);
  result.prompt_tokens = static_cast<int>(job.request.prompt.size());
  result.cached_tokens = job.cached;
  result.generated_tokens = job.generated;
  result.times = job.times();
  ModelMetrics::Ended ended;
  ended.reason = reason_name(result);
  ended.prompt_tokens = result.prompt_tokens;
  ended.generated_tokens = result.generated_tokens;
  ended.queue_seconds = result.times.queued;
  ended.prompt_seconds = result.times.prompt;
  ended.generate_seconds = result.times.generate;
  ended.seconds = std::chrono::duration<double>(Clock::now() - job.submitted).count();
  metrics_.ended(ended);
  job.sink->finished(job.choice, std::move(result));
}

// Its sequence becomes a prefix for later prompts, or is freed.
void Scheduler::release(Job& job, bool keep) {
  SequenceId sequence = job.sequence();
  if (sequence == 0) return;
  job.set_sequence(0);
  if (keep && job.computed > 0 && !state_.failed) {
    if (job.cancelled()) {
      // The engine lets a cancelled sequence do nothing more; a fork of it may.
      const SequenceId fresh = model_.fork_sequence(sequence, job.computed);
      model_.free_sequence(sequence);
      sequence = fresh;
    }
    job.tokens.resize(static_cast<size_t>(job.computed));
    prefixes_.keep(sequence, std::move(job.tokens));
  } else {
    model_.free_sequence(sequence);
  }
}

void Scheduler::end_with_error(const JobPointer& job, const Error& error) {
  end(job, with_error(error), error.code() == ErrorCode::kCancelled);
}

// What failed was not one sequence's part. A device that is lost stays lost.
void Scheduler::fail_all(const Error& error) {
  if (error.code() == ErrorCode::kDevice) {
    const std::lock_guard lock(mutex_);
    state_.failed = true;
  }
  for (const JobPointer& job : running_) end(job, with_error(error), false);
  if (state_.failed) admit_nothing(error);
}

void Scheduler::remove_ended() {
  const auto ended = [](const JobPointer& job) { return job->ended; };
  if (std::none_of(running_.begin(), running_.end(), ended)) return;
  running_.erase(std::remove_if(running_.begin(), running_.end(), ended), running_.end());
  const std::lock_guard lock(mutex_);
  known_ = running_;
}

// ---- how much a step holds

StepBudget Scheduler::budget() const {
  StepBudget budget;
  budget.tokens = options_.chunk;
  const bool writers = std::any_of(running_.begin(), running_.end(),
                                   [](const JobPointer& job) { return !job->reads_prompt(); });
  // Beside others who write, a prompt may take as long as their step, or what was asked for.
  const double seconds = std::max(options_.step_milliseconds * (writers ? 1e-3 : 2e-3),
                                  writers ? seconds_a_writing_step_ : 0);
  const double tokens = seconds_a_prompt_token_ > 0 ? seconds / seconds_a_prompt_token_
                                                    : static_cast<double>(kFirstPromptTokens);
  budget.prompt_tokens =
      static_cast<int>(std::clamp(tokens, static_cast<double>(kLeastPromptTokens), 1e6));
  return budget;
}

void Scheduler::learn(int prompt_tokens, double seconds, bool writers) {
  constexpr double kNew = 0.2;  // weight of the newest measurement
  const auto mix = [](double& value, double measured) {
    value = value == 0 ? measured : (1 - kNew) * value + kNew * measured;
  };
  if (prompt_tokens == 0) {
    mix(seconds_a_writing_step_, seconds);
  } else if (prompt_tokens >= kLeastPromptTokens) {
    const double own = writers ? std::max(seconds - seconds_a_writing_step_, seconds / 4) : seconds;
    mix(seconds_a_prompt_token_, own / prompt_tokens);
  }
}

void Scheduler::publish() {
  const CacheUse cache = model_.cache_use();
  const std::lock_guard lock(mutex_);
  state_.jobs.clear();
  for (const JobPointer& job : running_) state_.jobs.push_back(job->state(true));
  state_.running = static_cast<int>(running_.size());
  state_.cache = cache;
  const double used = cache.pages - cache.free_pages;
  metrics_.load(state_.running, static_cast<int>(queue_.size()),
                cache.pages > 0 ? used / cache.pages : 0);
}

}  // namespace upg::server
