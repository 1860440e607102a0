// One step over a batch of sequences, in chunks of at most the model's rows.
//
// Every input is checked and given its pages first, so that a chunk can fail for no reason of its
// own; then chunks are filled in the order of the inputs, prompts and single tokens of several
// sequences side by side, until all are done or cancelled.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <new>
#include <set>

#include "base/check.h"
#include "runtime/continuation.h"
#include "runtime/engine_state.h"

namespace upg::runtime {
namespace {

// One input on its way.
struct Part {
  const StepInput* input = nullptr;
  StepOutput* output = nullptr;
  Sequence* sequence = nullptr;
  int tokens = 0;
  int done = 0;                              // of them, computed
  float* values = nullptr;                   // [rows(), width]
  TextContinuation* continuation = nullptr;  // that may be offered the next token
  int32_t chosen = -1;                       // for it

  bool active() const noexcept { return sequence != nullptr; }
  bool wants_all() const noexcept {
    return input->want == StepWant::kAllLogits || input->want == StepWant::kHidden;
  }
  bool wants_logits() const noexcept {
    return input->want == StepWant::kAllLogits || input->want == StepWant::kLastLogits;
  }
  int rows() const noexcept {
    if (input->want == StepWant::kNothing) return 0;
    return wants_all() ? tokens : 1;
  }
};

// A row of the chunk that is wanted, and where it goes.
struct Wanted {
  int32_t row = 0;
  float* to = nullptr;
  Part* part = nullptr;
};

void check_tokens(const StepInput& input, int vocabulary) {
  for (size_t i = 0; i < input.tokens.size(); ++i) {
    const int32_t token = input.tokens[i];
    if (token >= 0 && token < vocabulary) continue;
    throw Error(ErrorCode::kUsage, fmt::format("sequence {}: token {} of the step: found {}, "
                                               "allowed 0 to {}",
                                               input.sequence, i, token, vocabulary - 1));
  }
}

void check_room(const StepInput& input, const Sequence& sequence) {
  if (input.tokens.empty()) {
    throw Error(
        ErrorCode::kUsage,
        fmt::format("sequence {}: a step of no tokens, needed is at least 1", input.sequence));
  }
  const auto room = static_cast<size_t>(sequence.limit - sequence.length());
  if (input.tokens.size() > room) {
    throw Error(
        ErrorCode::kUsage,
        fmt::format("sequence {}: context full: {} tokens and {} more, allowed {}", input.sequence,
                    sequence.length(), input.tokens.size(), sequence.limit));
  }
}

void check_cancelled(const StepInput& input, const Sequence& sequence) {
  if (!sequence.cancelled) return;
  throw Error(ErrorCode::kCancelled, fmt::format("sequence {}: cancelled", input.sequence));
}

// Computes some rows of the chunk and takes what is wanted of them.
using TakeRows = std::function<void(std::span<const int32_t> rows, std::span<const Wanted>)>;

class Step {
 public:
  Step(EngineState& engine, std::span<const StepInput> inputs) : engine_(engine), inputs_(inputs) {}

  std::vector<StepOutput> run();

 private:
  void admit(Part& part);
  void allocate_values();
  void drop_cancelled();
  bool fill_chunk();
  void add_to_chunk(Part& part, int tokens);
  void compute_chunk();
  void fetch(std::span<const Wanted> wanted, const TakeRows& take);
  void take_logits(float* logits, std::span<const Wanted> wanted);
  bool choose(float* logits, std::span<const Wanted> wanted);
  bool choose_there(std::span<int32_t> ids, float* logits, std::span<const Wanted> wanted);
  bool choose_here(std::span<int32_t> ids, const float* logits, std::span<const Wanted> wanted);
  void download(const float* from, std::span<const Wanted> wanted, size_t width);
  void finish();
  void roll_back(Part& part);
  size_t width(const Part& part) const {
    return static_cast<size_t>(part.wants_logits() ? engine_.info.vocabulary : engine_.info.hidden);
  }
  size_t vocabulary() const { return static_cast<size_t>(engine_.info.vocabulary); }
  size_t hidden() const { return static_cast<size_t>(engine_.info.hidden); }

  EngineState& engine_;
  std::span<const StepInput> inputs_;
  std::vector<StepOutput> outputs_;
  std::vector<Part> parts_;
  std::set<SequenceId> seen_;

  // The chunk being filled.
  std::vector<int32_t> ids_;
  std::vector<kernels::SequenceSlice> slices_;
  std::vector<const kernels::Rope*> ropes_;
  std::vector<Wanted> wanted_;  // logits
  std::vector<Wanted> states_;  // what the head reads
};

std::vector<StepOutput> Step::run() {
  outputs_.resize(inputs_.size());
  parts_.resize(inputs_.size());
  for (size_t i = 0; i < inputs_.size(); ++i) {
    Part& part = parts_[i];
    part.input = &inputs_[i];
    part.output = &outputs_[i];
    part.output->sequence = inputs_[i].sequence;
    try {
      admit(part);
    } catch (const Error& error) {
      part.output->error = error;
    }
  }
  try {
    allocate_values();
    for (drop_cancelled(); fill_chunk(); drop_cancelled()) compute_chunk();
  } catch (...) {
    for (Part& part : parts_) roll_back(part);
    throw;
  }
  finish();
  return std::move(outputs_);
}

void Step::admit(Part& part) {
  const StepInput& input = *part.input;
  Sequence& sequence = engine_.find(input.sequence);
  if (!seen_.insert(input.sequence).second) {
    throw Error(ErrorCode::kUsage,
                fmt::format("sequence {}: occurs more than once in a step", input.sequence));
  }
  check_cancelled(input, sequence);
  check_room(input, sequence);
  check_tokens(input, engine_.info.vocabulary);
  part.tokens = static_cast<int>(input.tokens.size());
  KvCache& cache = *engine_.cache;
  if (!cache.grow(sequence.pages, sequence.length(), part.tokens)) {
    throw Error(ErrorCode::kOutOfMemory,
                fmt::format("sequence {}: KV cache full: {} tokens and {} more, free are {} of {} "
                            "pages of {} tokens",
                            input.sequence, sequence.length(), part.tokens, cache.free_pages(),
                            cache.pages(), kernels::kPageTokens));
  }
  part.sequence = &sequence;
  if (input.want == StepWant::kLastLogits) {
    part.continuation = dynamic_cast<TextContinuation*>(input.continuation);
  }
}

// One buffer, kept from step to step unless it is far too large; the outputs point into it.
void Step::allocate_values() {
  size_t needed = 0;
  for (const Part& part : parts_) {
    if (part.active()) needed += static_cast<size_t>(part.rows()) * width(part);
  }
  if (needed > engine_.logits_capacity || needed < engine_.logits_capacity / 8) {
    engine_.logits_capacity = 0;
    engine_.logits.reset();
    engine_.logits.reset(new (std::nothrow) float[needed]);
    if (!engine_.logits) {
      throw Error(ErrorCode::kOutOfMemory, fmt::format("logits of a step: cannot allocate {} bytes",
                                                       needed * sizeof(float)));
    }
    engine_.logits_capacity = needed;
  }
  float* next = engine_.logits.get();
  for (Part& part : parts_) {
    if (!part.active()) continue;
    part.values = next;
    next += static_cast<size_t>(part.rows()) * width(part);
  }
}

void Step::drop_cancelled() {
  for (Part& part : parts_) {
    if (!part.active() || part.done == part.tokens || !part.sequence->cancelled) continue;
    roll_back(part);
    part.output->error =
        Error(ErrorCode::kCancelled, fmt::format("sequence {}: cancelled", part.input->sequence));
  }
}

// False when nothing is left to compute.
bool Step::fill_chunk() {
  ids_.clear();
  slices_.clear();
  ropes_.clear();
  wanted_.clear();
  states_.clear();
  const int capacity = engine_.model->limits().max_tokens;
  for (Part& part : parts_) {
    const int room = capacity - static_cast<int>(ids_.size());
    if (!part.active() || room == 0) continue;
    const int tokens = std::min(room, part.tokens - part.done);
    if (tokens > 0) add_to_chunk(part, tokens);
  }
  return !ids_.empty();
}

void Step::add_to_chunk(Part& part, int tokens) {
  const int first = static_cast<int>(ids_.size());
  const auto new_ids =
      part.input->tokens.subspan(static_cast<size_t>(part.done), static_cast<size_t>(tokens));
  ids_.insert(ids_.end(), new_ids.begin(), new_ids.end());
  slices_.push_back({first, tokens, part.sequence->length() + part.done, part.sequence->pages});
  ropes_.push_back(part.sequence->rope);
  std::vector<Wanted>& wanted = part.wants_logits() ? wanted_ : states_;
  for (int i = 0; i < tokens && part.rows() > 0; ++i) {
    const int position = part.done + i;
    if (part.wants_all()) {
      wanted.push_back(
          {first + i, part.values + static_cast<size_t>(position) * width(part), &part});
    } else if (position == part.tokens - 1) {
      wanted.push_back({first + i, part.values, &part});
    }
  }
  part.done += tokens;
}

void Step::compute_chunk() {
  kernels::StepBatch batch;
  batch.tokens = static_cast<int>(ids_.size());
  batch.ids = ids_;
  batch.sequences = slices_;
  batch.ropes = ropes_;
  // Those that may be chosen from lie side by side.
  std::stable_partition(wanted_.begin(), wanted_.end(),
                        [](const Wanted& one) { return one.part->continuation != nullptr; });
  // The first rows of logits go with the step itself, which a backend may do in one launch.
  std::vector<int32_t> rows;
  const auto at_once = static_cast<size_t>(engine_.model->limits().max_logits);
  const size_t first = std::min(at_once, wanted_.size());
  for (const Wanted& wanted : std::span(wanted_).first(first)) rows.push_back(wanted.row);
  float* logits = engine_.model->forward(batch, engine_.cache->layers(), rows);
  take_logits(logits, std::span(wanted_).first(first));
  model::Model& model = *engine_.model;
  fetch(std::span(wanted_).subspan(first),
        [&](auto some_rows, auto some) { take_logits(model.logits(some_rows), some); });
  fetch(states_,
        [&](auto some_rows, auto some) { download(model.normed(some_rows), some, hidden()); });
}

// As many rows at once as the model computes.
void Step::fetch(std::span<const Wanted> wanted, const TakeRows& take) {
  const auto at_once = static_cast<size_t>(engine_.model->limits().max_logits);
  std::vector<int32_t> rows;
  for (size_t i = 0; i < wanted.size(); i += at_once) {
    const std::span<const Wanted> some = wanted.subspan(i, std::min(at_once, wanted.size() - i));
    rows.clear();
    for (const Wanted& one : some) rows.push_back(one.row);
    take(rows, some);
  }
}

// Tokens where the backend or its threads choose them, else logits.
void Step::take_logits(float* logits, std::span<const Wanted> wanted) {
  size_t count = 0;
  while (count < wanted.size() && wanted[count].part->continuation != nullptr) ++count;
  if (count == 0 || !choose(logits, wanted.first(count))) {
    download(logits, wanted, vocabulary());
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    if (wanted[i].part->chosen >= 0) continue;
    download(logits + i * vocabulary(), wanted.subspan(i, 1), vocabulary());
  }
  download(logits + count * vocabulary(), wanted.subspan(count), vocabulary());
}

bool Step::choose(float* logits, std::span<const Wanted> wanted) {
  std::vector<int32_t> ids(wanted.size(), -1);
  if (!choose_here(ids, logits, wanted) && !choose_there(ids, logits, wanted)) return false;
  for (size_t i = 0; i < ids.size(); ++i) {
    Part& part = *wanted[i].part;
    try {
      if (ids[i] >= 0 && part.continuation->allows(ids[i])) part.chosen = ids[i];
    } catch (const Error&) {
      // Its filter gave up: next() will say so, to this sequence alone.
    }
  }
  return true;
}

bool Step::choose_there(std::span<int32_t> ids, float* logits, std::span<const Wanted> wanted) {
  std::vector<kernels::TokenChoice> choices;
  for (const Wanted& one : wanted) choices.push_back(one.part->continuation->choice());
  return engine_.backend->choose_ids(ids, logits, engine_.info.vocabulary, choices);
}

bool Step::choose_here(std::span<int32_t> ids, const float* logits,
                       std::span<const Wanted> wanted) {
  return engine_.backend->for_rows_in_place(std::ssize(ids), [&](int64_t row) {
    const auto i = static_cast<size_t>(row);
    try {
      ids[i] = wanted[i].part->continuation->chosen({logits + i * vocabulary(), vocabulary()});
    } catch (const Error&) {
      // Logits that are no numbers: next() will say so, to this sequence alone.
    }
  });
}

// Rows that lie one after the other where they go are one transfer.
void Step::download(const float* from, std::span<const Wanted> wanted, size_t width) {
  for (size_t i = 0; i < wanted.size();) {
    size_t end = i + 1;
    while (end < wanted.size() && wanted[end].to == wanted[end - 1].to + width) ++end;
    engine_.backend->download(wanted[i].to, from + i * width, (end - i) * width * sizeof(float));
    i = end;
  }
}

void Step::finish() {
  for (Part& part : parts_) {
    if (!part.active()) continue;
    UPG_CHECK(part.done == part.tokens);
    std::vector<int32_t>& tokens = part.sequence->tokens;
    tokens.insert(tokens.end(), part.input->tokens.begin(), part.input->tokens.end());
    if (part.chosen >= 0) {
      part.continuation->offer(part.chosen);
    } else {
      part.output->values = {part.values, static_cast<size_t>(part.rows()) * width(part)};
    }
  }
}

// The sequence as it was before the step; its part ends.
void Step::roll_back(Part& part) {
  if (!part.active()) return;
  engine_.cache->truncate(part.sequence->pages, part.sequence->length());
  part.sequence = nullptr;
}

}  // namespace

std::vector<StepOutput> EngineState::step(std::span<const StepInput> inputs) {
  return Step(*this, inputs).run();
}

}  // namespace upg::runtime
