// What the engine's tests share: the bundled checkpoint, its golden cases, prompts.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "upg/engine.h"

namespace upg::runtime {

using Ids = std::vector<int32_t>;

// A case of golden.json: what transformers says in float32.
struct Golden {
  std::string prompt;                 // kind "text"
  std::vector<ChatMessage> messages;  // kind "chat"
  Ids ids;
  Ids top_ids;  // the largest logits after ids
  std::vector<float> top_logits;
  double log_sum_exp = 0;
  Ids greedy;
  std::string greedy_text;
};

std::string model_folder();  // the bundled checkpoint
std::vector<Golden> read_goldens(const std::string& folder);
const std::vector<Golden>& goldens();

std::unique_ptr<Engine> load(const LoadOptions& options = {});  // the bundled checkpoint
GenerateOptions greedy(int max_tokens);

// Text-like tokens without ids that end a text.
Ids random_prompt(std::mt19937& random, int tokens);
Ids long_prompt(int tokens);

double max_difference(std::span<const float> a, std::span<const float> b);
void expect_golden(const Golden& golden, std::span<const float> logits, double tolerance);

}  // namespace upg::runtime
