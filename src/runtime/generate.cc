// forward() and generate(): loops over step().
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "runtime/continuation.h"
#include "runtime/engine_state.h"
#include "runtime/engine_text.h"

namespace upg::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  const auto length = std::min(a.size(), b.size());
  const auto end = a.begin() + static_cast<ptrdiff_t>(length);
  return static_cast<int>(std::mismatch(a.begin(), end, b.begin()).first - a.begin());
}

// One call of generate().
class Generation {
 public:
  Generation(EngineState& engine, SequenceId id, std::span<const int32_t> prompt,
             const GenerateOptions& options, const Engine::TokenCallback& on_token);
  GenerateResult run();

 private:
  bool read_prompt();
  void write();
  bool feed(std::span<const int32_t> tokens, StepWant want = StepWant::kLastLogits);
  bool emit(const Continuation::Next& next);

  EngineState& engine_;
  SequenceId id_;
  std::span<const int32_t> prompt_;
  const GenerateOptions& options_;
  const Engine::TokenCallback& on_token_;
  TextContinuation continuation_;
  std::span<const float> logits_;  // of the last token fed
  GenerateResult result_;
};

Generation::Generation(EngineState& engine, SequenceId id, std::span<const int32_t> prompt,
                       const GenerateOptions& options, const Engine::TokenCallback& on_token)
    : engine_(engine),
      id_(id),
      prompt_(prompt),
      options_(options),
      on_token_(on_token),
      continuation_(engine.text.get(), engine.info, prompt, options, engine.find(id).limit) {
  if (!options.stop.empty()) engine.require_text();
  result_.prompt_tokens = static_cast<int>(prompt.size());
}

GenerateResult Generation::run() {
  Clock::time_point start = Clock::now();
  const bool read = read_prompt();
  result_.prompt_seconds = seconds_since(start);
  if (!read) return std::move(result_);
  start = Clock::now();
  write();
  result_.generate_seconds = seconds_since(start);
  return std::move(result_);
}

// What the sequence holds of the prompt stays, but for the last token: its logits are needed. In
// one step, unless someone wants to hear of each chunk.
bool Generation::read_prompt() {
  const Sequence& sequence = engine_.find(id_);
  if (sequence.cancelled) {
    result_.finish = FinishReason::kCancelled;
    return false;
  }
  const int held = common_prefix(sequence.tokens, prompt_);
  result_.cached_tokens = std::min(held, static_cast<int>(prompt_.size()) - 1);
  engine_.truncate(id_, result_.cached_tokens);
  const auto chunk = static_cast<size_t>(engine_.model->limits().max_tokens);
  const size_t at_once = options_.on_prompt ? chunk : prompt_.size();
  for (size_t done = static_cast<size_t>(result_.cached_tokens); done < prompt_.size();) {
    const size_t tokens = std::min(at_once, prompt_.size() - done);
    const bool last = done + tokens == prompt_.size();
    const StepWant want = last ? StepWant::kLastLogits : StepWant::kNothing;
    if (!feed(prompt_.subspan(done, tokens), want)) return false;
    done += tokens;
    if (options_.on_prompt && !options_.on_prompt(static_cast<int>(done), result_.prompt_tokens)) {
      result_.finish = FinishReason::kCallback;
      return false;
    }
  }
  return true;
}

void Generation::write() {
  if (options_.max_tokens == 0) {
    result_.finish = FinishReason::kLength;
    return;
  }
  while (true) {
    const Continuation::Next next = continuation_.next(logits_);
    if (!emit(next)) {
      result_.finish = FinishReason::kCallback;
      result_.text += continuation_.rest();
      return;
    }
    if (next.finish) {
      result_.finish = *next.finish;
      return;
    }
    if (!feed({&next.id, 1})) {
      const std::string rest = continuation_.rest();
      if (!rest.empty()) emit({next.id, false, rest, {}});
      return;
    }
  }
}

// False, with the reason in result_.finish: cancelled, or the cache is full in mid-text.
bool Generation::feed(std::span<const int32_t> tokens, StepWant want) {
  const StepInput input{id_, tokens, want, &continuation_};
  std::vector<StepOutput> outputs = engine_.step({&input, 1});
  const std::optional<Error>& error = outputs[0].error;
  if (!error) {
    logits_ = outputs[0].values;
    return true;
  }
  if (error->code() == ErrorCode::kCancelled) {
    result_.finish = FinishReason::kCancelled;
  } else if (error->code() == ErrorCode::kOutOfMemory && !result_.ids.empty()) {
    result_.finish = FinishReason::kLength;
  } else {
    throw *error;
  }
  return false;
}

// False when the callback wants no more.
bool Generation::emit(const Continuation::Next& next) {
  if (next.part_of_text) result_.ids.push_back(next.id);
  result_.text += next.text;
  if (!next.part_of_text && next.text.empty()) return true;
  return !on_token_ || on_token_({next.id, next.text}) || (next.finish && !next.part_of_text);
}

}  // namespace

void check_prompt(std::string_view what, size_t tokens, int room) {
  if (tokens == 0) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: found no tokens, needed is at least 1", what));
  }
  if (tokens > static_cast<size_t>(room)) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: found {} tokens, the context has room for {}",
                                               what, tokens, room));
  }
}

std::vector<float> EngineState::forward(std::span<const int32_t> ids) {
  check_prompt("forward", ids.size(), info.context);
  const OwnSequence sequence(*this, static_cast<int>(ids.size()));
  const StepInput input{sequence.id(), ids, StepWant::kAllLogits};
  const std::vector<StepOutput> outputs = step({&input, 1});
  if (outputs[0].error) throw *outputs[0].error;
  return {outputs[0].values.begin(), outputs[0].values.end()};
}

GenerateResult EngineState::generate(std::span<const int32_t> prompt,
                                     const GenerateOptions& options,
                                     const Engine::TokenCallback& on_token) {
  check_prompt("prompt", prompt.size(), info.context);
  const int64_t planned = static_cast<int64_t>(prompt.size()) + options.max_tokens;
  const bool to_the_end = options.max_tokens < 0 || planned > info.context;
  const OwnSequence sequence(*this, to_the_end ? 0 : static_cast<int>(planned));
  return generate(sequence.id(), prompt, options, on_token);
}

GenerateResult EngineState::generate(SequenceId id, std::span<const int32_t> prompt,
                                     const GenerateOptions& options,
                                     const Engine::TokenCallback& on_token) {
  check_prompt("prompt", prompt.size(), find(id).limit);
  return Generation(*this, id, prompt, options, on_token).run();
}

}  // namespace upg::runtime
