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

void print_model(const ModelInfo& info);                                // stderr
void print_speed(const GenerateResult& result, const ModelInfo& info);  // stderr

}  // namespace upg::cli
