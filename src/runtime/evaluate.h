// Quality of a model on a text: perplexity, and against a source model KL divergence and top-1
// agreement.
//
// Windows of `context` tokens, consecutive and without overlap from the start of the text, or
// `windows` of them evenly spread over it; no beginning-of-text token. Perplexity is over every
// predicted position (all but a window's first token); KL(source || model) in nats and top-1
// agreement are float64 means over all positions.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "upg/engine.h"

namespace upg::runtime {

struct EvaluateOptions {
  int context = 1024;  // tokens a window, at least 2
  int windows = 0;     // 0: all
};

struct Evaluation {
  int64_t tokens = 0;     // predicted positions
  int64_t positions = 0;  // all positions
  int windows = 0;
  double perplexity = 0;
  bool with_source = false;
  double source_perplexity = 0;
  double kl = 0;
  double top1_agreement = 0;
};

// done, total in windows, and what was measured so far; false stops with Error(kCancelled).
using EvaluateProgress = std::function<bool(int done, int total, const Evaluation& so_far)>;

// ids: the tokens of the text. source may be null; its vocabulary must be the model's (else
// Error(kInvalidData)). Throws Error(kUsage) when the text is shorter than two tokens, or the
// context does not fit a model.
Evaluation evaluate(Engine& model, Engine* source, std::span<const int32_t> ids,
                    const EvaluateOptions& options, const EvaluateProgress& progress = {});

// One position: what is added up. Logits need not be normalised. Exposed for its test.
struct PositionScores {
  double log_probability = 0;         // of `target` under the model
  double source_log_probability = 0;  // under the source
  double kl = 0;
  bool same_top = false;
};
PositionScores score_position(std::span<const float> model, std::span<const float> source,
                              int32_t target);

}  // namespace upg::runtime
