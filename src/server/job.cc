#include "server/job.h"

namespace upg::server {
namespace {

double seconds_between(Clock::time_point from, Clock::time_point to) {
  if (from == Clock::time_point{} || to == Clock::time_point{}) return 0;
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

void JobHandle::cancel() const noexcept {
  if (job_) job_->cancel();
}

void Job::cancel() noexcept {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (scheduler_ == nullptr) return;
  if (sequence_ != 0) scheduler_->model_.cancel(sequence_);
  {
    const std::lock_guard changed(scheduler_->mutex_);
    scheduler_->changed_ = true;
  }
  scheduler_->work_.notify_one();
}

void Job::detach() noexcept {
  const std::lock_guard lock(mutex_);
  scheduler_ = nullptr;
}

void Job::set_sequence(SequenceId sequence) noexcept {
  const std::lock_guard lock(mutex_);
  sequence_ = sequence;
}

GenerationTimes Job::times() const {
  GenerationTimes times;
  const Clock::time_point begun = started == Clock::time_point{} ? Clock::now() : started;
  times.queued = seconds_between(submitted, begun);
  times.prompt = seconds_between(started, first_token);
  times.generate = seconds_between(first_token, last_token);
  return times;
}

JobState Job::state(bool running) const {
  JobState state;
  state.state = !running ? "queued" : reads_prompt() ? "prompt" : "generating";
  state.prompt_tokens = static_cast<int>(request.prompt.size());
  state.cached_tokens = cached;
  state.computed_tokens = computed;
  state.generated_tokens = generated;
  const double seconds = times().generate;
  if (generated > 1 && seconds > 0) state.tokens_per_second = (generated - 1) / seconds;
  return state;
}

}  // namespace upg::server
