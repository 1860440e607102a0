// forward() and generate(): loops over step().
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "runtime/engine_state.h"
#include "runtime/engine_text.h"
#include "runtime/sampler.h"
#include "runtime/stop_filter.h"
#include "tokenizer/stream_decoder.h"

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
  bool feed(std::span<const int32_t> tokens);
  bool show(int32_t id, bool last);
  bool emit(int32_t id, const std::string& text);
  std::string rest();
  void flush(int32_t id);
  bool is_stop(int32_t id) const;
  bool is_last() const;

  EngineState& engine_;
  SequenceId id_;
  std::span<const int32_t> prompt_;
  const GenerateOptions& options_;
  const Engine::TokenCallback& on_token_;
  Sampler sampler_;
  StopFilter stops_;
  std::optional<tokenizer::StreamDecoder> stream_;  // none without a tokenizer: no text then
  std::vector<int32_t> history_;
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
      sampler_(options.sampling, engine.info.vocabulary),
      stops_(options.stop),
      history_(prompt.begin(), prompt.end()) {
  if (!options.stop.empty()) engine.require_text();
  if (engine.text) stream_.emplace(engine.text->tokenizer());
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
    if (!feed(prompt_.subspan(done, tokens))) return false;
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
    const int32_t id = sampler_.sample(logits_, history_);
    if (is_stop(id)) {
      result_.finish = FinishReason::kStop;
      flush(id);
      return;
    }
    result_.ids.push_back(id);
    history_.push_back(id);
    const bool last = is_last();
    if (!show(id, last)) return;
    if (last) {
      result_.finish = FinishReason::kLength;
      return;
    }
    if (!feed({&id, 1})) {
      flush(id);
      return;
    }
  }
}

// False, with the reason in result_.finish: cancelled, or the cache is full in mid-text.
bool Generation::feed(std::span<const int32_t> tokens) {
  const StepInput input{id_, tokens, false};
  std::vector<StepOutput> outputs = engine_.step({&input, 1});
  const std::optional<Error>& error = outputs[0].error;
  if (!error) {
    logits_ = outputs[0].logits;
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

// False, with the reason in result_.finish, when nothing shall follow.
bool Generation::show(int32_t id, bool last) {
  std::string text = stops_.push(stream_ ? stream_->push(id) : std::string());
  if (last) text += rest();
  if (!emit(id, text)) {
    result_.finish = FinishReason::kCallback;
    result_.text += stops_.finish();
    return false;
  }
  result_.finish = FinishReason::kStop;
  return !stops_.stopped();
}

bool Generation::emit(int32_t id, const std::string& text) {
  result_.text += text;
  return !on_token_ || on_token_({id, text});
}

// What the decoder and the stop filter held back: text after all, since no more tokens come.
std::string Generation::rest() {
  std::string text = stops_.push(stream_ ? stream_->finish() : std::string());
  return text + stops_.finish();
}

void Generation::flush(int32_t id) {
  const std::string text = rest();
  if (!text.empty()) emit(id, text);
}

bool Generation::is_stop(int32_t id) const {
  const std::vector<int32_t>& ids = engine_.info.stop_ids;
  return !options_.ignore_end_of_text && std::find(ids.begin(), ids.end(), id) != ids.end();
}

// No token can follow the newest one: enough are there, or it has no place itself.
bool Generation::is_last() const {
  const Sequence& sequence = engine_.find(id_);
  return static_cast<int64_t>(result_.ids.size()) == options_.max_tokens ||
         sequence.length() == sequence.limit;
}

void check_max_tokens(int max_tokens) {
  if (max_tokens >= -1) return;
  throw Error(ErrorCode::kUsage,
              fmt::format("max_tokens: found {}, allowed -1 (to the end) or more", max_tokens));
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
  const StepInput input{sequence.id(), ids, true};
  const std::vector<StepOutput> outputs = step({&input, 1});
  if (outputs[0].error) throw *outputs[0].error;
  return {outputs[0].logits.begin(), outputs[0].logits.end()};
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
  check_max_tokens(options.max_tokens);
  return Generation(*this, id, prompt, options, on_token).run();
}

}  // namespace upg::runtime
