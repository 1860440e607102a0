#include "runtime/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/probability.h"
#include "base/threads.h"

namespace upg::runtime {
namespace {

constexpr int kChunk = 128;  // tokens whose logits are held at once

// Ends the sequence however the window ends.
class Sequence {
 public:
  Sequence(Engine& engine, int tokens) : engine_(engine), id_(engine.create_sequence(tokens)) {}
  ~Sequence() { engine_.free_sequence(id_); }
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  // Logits of every token of the chunk, [tokens, vocabulary], until the engine's next step.
  std::span<const float> step(std::span<const int32_t> tokens) {
    const StepInput input{.sequence = id_, .tokens = tokens, .want = StepWant::kAllLogits};
    const std::vector<StepOutput> outputs = engine_.step({&input, 1});
    if (outputs[0].error) throw *outputs[0].error;
    return outputs[0].values;
  }

 private:
  Engine& engine_;
  SequenceId id_;
};

int64_t argmax(std::span<const float> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

struct Sums {
  double log_probability = 0;
  double source_log_probability = 0;
  double kl = 0;
  int64_t same_top = 0;
  int64_t predicted = 0;
  int64_t positions = 0;
};

void check(const Engine& model, const Engine* source, std::span<const int32_t> ids,
           const EvaluateOptions& options) {
  const auto refuse = [](const std::string& what) { throw Error(ErrorCode::kUsage, what); };
  if (ids.size() < 2) {
    refuse(fmt::format("the text has {} tokens, needed are at least 2", ids.size()));
  }
  const int longest = std::min(model.info().context, source ? source->info().context : 1 << 30);
  if (options.context < 2 || options.context > longest) {
    refuse(fmt::format("--ctx: found {}, allowed is 2 to {}", options.context, longest));
  }
  if (source && source->info().vocabulary != model.info().vocabulary) {
    throw Error(ErrorCode::kInvalidData,
                fmt::format("{}: its vocabulary has {} tokens, that of {} has {} (MISMATCH)",
                            source->info().file, source->info().vocabulary, model.info().file,
                            model.info().vocabulary));
  }
}

// Adds up one window. Chunk by chunk, both models side by side, so that no more than two chunks of
// logits are in memory.
void add_window(Engine& model, Engine* source, std::span<const int32_t> window,
                base::ThreadTeam& team, Sums& sums) {
  const int length = static_cast<int>(window.size());
  Sequence model_sequence(model, length);
  std::optional<Sequence> source_sequence;
  if (source) source_sequence.emplace(*source, length);
  const auto vocabulary = static_cast<size_t>(model.info().vocabulary);
  for (int first = 0; first < length; first += kChunk) {
    const auto chunk = window.subspan(static_cast<size_t>(first),
                                      static_cast<size_t>(std::min(kChunk, length - first)));
    const std::span<const float> logits = model_sequence.step(chunk);
    const std::span<const float> reference =
        source_sequence ? source_sequence->step(chunk) : std::span<const float>();
    std::vector<PositionScores> scores(chunk.size());
    team.for_each(static_cast<int64_t>(chunk.size()), [&](int64_t i, int) {
      const auto row = [&](std::span<const float> all) {
        return all.empty() ? all : all.subspan(static_cast<size_t>(i) * vocabulary, vocabulary);
      };
      const int64_t next = first + i + 1;
      scores[static_cast<size_t>(i)] = score_position(
          row(logits), row(reference), next < length ? window[static_cast<size_t>(next)] : -1);
    });
    for (size_t i = 0; i < chunk.size(); ++i) {  // in order: the sums do not depend on threads
      sums.log_probability += scores[i].log_probability;
      sums.source_log_probability += scores[i].source_log_probability;
      sums.kl += scores[i].kl;
      sums.same_top += scores[i].same_top ? 1 : 0;
    }
  }
  sums.predicted += length - 1;
  sums.positions += length;
}

Evaluation summary(const Sums& sums, int windows, bool with_source) {
  Evaluation result;
  const auto predicted = static_cast<double>(sums.predicted);
  const auto positions = static_cast<double>(sums.positions);
  result.tokens = sums.predicted;
  result.positions = sums.positions;
  result.windows = windows;
  result.perplexity = std::exp(-sums.log_probability / predicted);
  result.with_source = with_source;
  if (!with_source) return result;
  result.source_perplexity = std::exp(-sums.source_log_probability / predicted);
  result.kl = sums.kl / positions;
  result.top1_agreement = static_cast<double>(sums.same_top) / positions;
  return result;
}

}  // namespace

PositionScores score_position(std::span<const float> model, std::span<const float> source,
                              int32_t target) {
  PositionScores scores;
  if (target >= 0) {
    scores.log_probability = model[static_cast<size_t>(target)] - base::log_sum_exp(model);
  }
  if (source.empty()) return scores;
  if (target >= 0) {
    scores.source_log_probability = source[static_cast<size_t>(target)] - base::log_sum_exp(source);
  }
  scores.kl = base::kl_divergence(source, model);
  scores.same_top = argmax(model) == argmax(source);
  return scores;
}

Evaluation evaluate(Engine& model, Engine* source, std::span<const int32_t> ids,
                    const EvaluateOptions& options, const EvaluateProgress& progress) {
  check(model, source, ids, options);
  const auto context = static_cast<size_t>(options.context);
  // A text shorter than one window is one short window.
  const size_t length = std::min(context, ids.size());
  const size_t available = ids.size() / length;
  const size_t count = options.windows > 0
                           ? std::min<size_t>(static_cast<size_t>(options.windows), available)
                           : available;
  base::ThreadTeam team(base::default_threads());
  Sums sums;
  for (size_t i = 0; i < count; ++i) {
    const size_t window = i * available / count;
    add_window(model, source, ids.subspan(window * length, length), team, sums);
    const int done = static_cast<int>(i + 1);
    if (progress &&
        !progress(done, static_cast<int>(count), summary(sums, done, source != nullptr))) {
      throw Error(ErrorCode::kCancelled, "interrupted");
    }
  }
  return summary(sums, static_cast<int>(count), source != nullptr);
}

}  // namespace upg::runtime
