#include "model/tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace upg::model {
namespace {

std::vector<TensorSpec> specs_of(const std::string& architecture, const std::string& more) {
  return tensor_specs(parse_config(R"({"architectures": [")" + architecture +
                                       R"("], "rms_norm_eps": 1e-5, "hidden_act": "silu",
      "max_position_embeddings": 16384, "rope_theta": 250000, )" +
                                       more + "}",
                                   "", "config.json"));
}

const TensorSpec* find(const std::vector<TensorSpec>& specs, const std::string& name) {
  const auto at = std::find_if(specs.begin(), specs.end(),
                               [&](const TensorSpec& spec) { return spec.name == name; });
  return at == specs.end() ? nullptr : &*at;
}

// The published tensor list of microsoft/phi-4: 243 tensors, 14,659,507,200 parameters.
TEST(Tensors, Phi4) {
  const auto specs = specs_of("Phi3ForCausalLM", R"("vocab_size": 100352, "hidden_size": 5120,
    "intermediate_size": 17920, "num_hidden_layers": 40, "num_attention_heads": 40,
    "num_key_value_heads": 10)");
  EXPECT_EQ(specs.size(), 243u);
  EXPECT_EQ(parameter_count(specs), 14'659'507'200u);
  EXPECT_EQ(specs.front().name, "model.embed_tokens.weight");
  EXPECT_EQ(specs.back().name, "lm_head.weight");
  const TensorSpec* qkv = find(specs, "model.layers.39.self_attn.qkv_proj.weight");
  ASSERT_NE(qkv, nullptr);
  EXPECT_EQ(qkv->rows, 7680);
  EXPECT_EQ(qkv->cols, 5120);
  EXPECT_EQ(qkv->activation, "model.layers.39.self_attn.input");
  const TensorSpec* gate_up = find(specs, "model.layers.0.mlp.gate_up_proj.weight");
  ASSERT_NE(gate_up, nullptr);
  EXPECT_EQ(gate_up->rows, 35840);
}

// microsoft/Phi-4-mini-instruct: 3,836,021,760 parameters, no head of its own.
TEST(Tensors, Phi4Mini) {
  const auto specs = specs_of("Phi3ForCausalLM", R"("vocab_size": 200064, "hidden_size": 3072,
    "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 24,
    "num_key_value_heads": 8, "tie_word_embeddings": true)");
  EXPECT_EQ(parameter_count(specs), 3'836'021'760u);
  EXPECT_EQ(find(specs, "lm_head.weight"), nullptr);
}

TEST(Tensors, SeparateProjectionsShareTheirInput) {
  const auto specs = specs_of("Qwen2ForCausalLM", R"("vocab_size": 100, "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2)");
  const std::string attention = "model.layers.0.self_attn.";
  for (const char* module : {"q_proj", "k_proj", "v_proj"}) {
    const TensorSpec* weight = find(specs, attention + module + ".weight");
    const TensorSpec* bias = find(specs, attention + module + ".bias");
    ASSERT_TRUE(weight != nullptr && bias != nullptr) << module;
    EXPECT_EQ(weight->activation, attention + "input");
    EXPECT_EQ(bias->rows, weight->rows);
    EXPECT_EQ(bias->role, Role::kVector);
  }
  EXPECT_EQ(find(specs, attention + "k_proj.weight")->rows, 32);
  EXPECT_EQ(find(specs, attention + "o_proj.bias"), nullptr);
  EXPECT_EQ(find(specs, "model.layers.0.mlp.up_proj.weight")->activation,
            find(specs, "model.layers.0.mlp.gate_proj.weight")->activation);
}

TEST(Tensors, HeadNormsAndHeadDimApartFromHidden) {
  const auto specs = specs_of("Qwen3ForCausalLM", R"("vocab_size": 100, "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32)");
  EXPECT_EQ(find(specs, "model.layers.0.self_attn.q_norm.weight")->rows, 32);
  EXPECT_EQ(find(specs, "model.layers.0.self_attn.q_proj.weight")->rows, 128);
  EXPECT_EQ(find(specs, "model.layers.0.self_attn.o_proj.weight")->cols, 128);
}

}  // namespace
}  // namespace upg::model
