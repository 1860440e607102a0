// One step over a batch of sequences, in chunks of at most the model's rows.
//
// Every input is checked and given its pages first, so that a chunk can fail for no reason of its
// own; then chunks are filled in the order of the inputs, prompts and single tokens of several
// sequences side by side, until all are done or cancelled.
#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <set>

#include "base/check.h"
#include "runtime/engine_state.h"

namespace upg::runtime {
namespace {

// One input on its way.
struct Part {
  const StepInput* input = nullptr;
  StepOutput* output = nullptr;
  Sequence* sequence = nullptr;
  int tokens = 0;
  int done = 0;             // of them, computed
  float* logits = nullptr;  // [rows(), vocabulary]

  bool active() const noexcept { return sequence != nullptr; }
  int rows() const noexcept { return input->all_logits ? tokens : 1; }
};

// A row of the chunk whose logits are wanted, and where they go.
struct Wanted {
  int32_t row = 0;
  float* to = nullptr;
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

class Step {
 public:
  Step(EngineState& engine, std::span<const StepInput> inputs) : engine_(engine), inputs_(inputs) {}

  std::vector<StepOutput> run();

 private:
  void admit(Part& part);
  void allocate_logits();
  void drop_cancelled();
  bool fill_chunk();
  void add_to_chunk(Part& part, int tokens);
  void compute_chunk();
  void download(const float* from, std::span<const Wanted> wanted);
  void finish();
  void roll_back(Part& part);
  size_t vocabulary() const { return static_cast<size_t>(engine_.info.vocabulary); }

  EngineState& engine_;
  std::span<const StepInput> inputs_;
  std::vector<StepOutput> outputs_;
  std::vector<Part> parts_;
  std::set<SequenceId> seen_;

  // The chunk being filled.
  std::vector<int32_t> ids_;
  std::vector<kernels::SequenceSlice> slices_;
  std::vector<const kernels::Rope*> ropes_;
  std::vector<Wanted> wanted_;
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
    allocate_logits();
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
}

// One buffer, kept from step to step unless it is far too large; the outputs point into it.
void Step::allocate_logits() {
  size_t rows = 0;
  for (const Part& part : parts_) rows += part.active() ? static_cast<size_t>(part.rows()) : 0;
  const size_t needed = rows * vocabulary();
  if (needed > engine_.logits_capacity || needed < engine_.logits_capacity / 8) {
    engine_.logits_capacity = 0;
    engine_.logits.reset();
    engine_.logits.reset(new (std::nothrow) float[needed]);
    if (!engine_.logits) {
      throw Error(ErrorCode::kOutOfMemory, fmt::format("logits of {} tokens: cannot allocate {} "
                                                       "bytes",
                                                       rows, needed * sizeof(float)));
    }
    engine_.logits_capacity = needed;
  }
  float* next = engine_.logits.get();
  for (Part& part : parts_) {
    if (!part.active()) continue;
    part.logits = next;
    next += static_cast<size_t>(part.rows()) * vocabulary();
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
  for (int i = 0; i < tokens; ++i) {
    const int position = part.done + i;
    if (part.input->all_logits) {
      wanted_.push_back({first + i, part.logits + static_cast<size_t>(position) * vocabulary()});
    } else if (position == part.tokens - 1) {
      wanted_.push_back({first + i, part.logits});
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
  std::vector<int32_t> rows;
  for (const Wanted& wanted : wanted_) rows.push_back(wanted.row);
  const std::span<const int32_t> all_rows = rows;
  const auto at_once = static_cast<size_t>(engine_.model->limits().max_logits);
  const size_t first = std::min(at_once, rows.size());
  const float* logits =
      engine_.model->forward(batch, engine_.cache->layers(), all_rows.first(first));
  download(logits, std::span(wanted_).first(first));
  for (size_t i = first; i < rows.size(); i += at_once) {
    const size_t count = std::min(at_once, rows.size() - i);
    logits = engine_.model->logits(all_rows.subspan(i, count));
    download(logits, std::span(wanted_).subspan(i, count));
  }
}

// Rows that lie one after the other where they go are one transfer.
void Step::download(const float* from, std::span<const Wanted> wanted) {
  for (size_t i = 0; i < wanted.size();) {
    size_t end = i + 1;
    while (end < wanted.size() && wanted[end].to == wanted[end - 1].to + vocabulary()) ++end;
    engine_.backend->download(wanted[i].to, from + i * vocabulary(),
                              (end - i) * vocabulary() * sizeof(float));
    i = end;
  }
}

void Step::finish() {
  for (Part& part : parts_) {
    if (!part.active()) continue;
    UPG_CHECK(part.done == part.tokens);
    std::vector<int32_t>& tokens = part.sequence->tokens;
    tokens.insert(tokens.end(), part.input->tokens.begin(), part.input->tokens.end());
    part.output->logits = {part.logits, static_cast<size_t>(part.rows()) * vocabulary()};
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
