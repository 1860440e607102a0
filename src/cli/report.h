// What run, chat and eval tell people about a model and its speed.
#pragma once

#include <string>

#include "upg/engine.h"

namespace upg::cli {

struct Speed {
  double prompt_tokens_per_second = 0;
  double tokens_per_second = 0;
  double weight_gb_per_second = 0;  // compressed bytes read for the generated tokens
};

Speed speed_of(const GenerateResult& result, const ModelInfo& info);
const char* finish_name(FinishReason reason);

// GenerateOptions::on_prompt of the verbs: says how far a long prompt is, on a terminal, from the
// second second on; false when a signal has come.
class PromptProgress {
 public:
  explicit PromptProgress(bool quiet);
  bool operator()(int done, int total);

 private:
  bool quiet_;
  double start_ = 0;  // seconds, of the prompt at hand
};

void print_plan(const MemoryPlan& plan);
void print_model(const ModelInfo& info);                                // stderr
void print_speed(const GenerateResult& result, const ModelInfo& info);  // stderr

}  // namespace upg::cli
