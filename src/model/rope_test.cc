#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "model/config.h"
#include "upg/error.h"

namespace upg::model {
namespace {

std::string config_text(const std::string& architecture, const std::string& more) {
  return R"({"architectures": [")" + architecture + R"("], "vocab_size": 100, "hidden_size": 3072,
    "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 24,
    "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "max_position_embeddings": 131072, )" +
         more + "}";
}

ModelConfig parse(const std::string& architecture, const std::string& more) {
  return parse_config(config_text(architecture, more), "", "config.json");
}

std::string list_of(int count, double value) {
  std::string text = "[";
  for (int i = 0; i < count; ++i) text += (i == 0 ? "" : ", ") + std::to_string(value + i);
  return text + "]";
}

std::string longrope(const std::string& type, int count) {
  return R"("rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 4096, "rope_scaling": {"type": ")" +
         type + R"(", "short_factor": )" + list_of(count, 1.0) + R"(, "long_factor": )" +
         list_of(count, 2.0) + "}";
}

// Phi-4-mini's shape: 96 of 128 dimensions turn, the attention factor is 1.190238.
TEST(Rope, LongropeHasTwoSetsOfFactorsAndOneScale) {
  const ModelConfig config = parse("Phi3ForCausalLM", longrope("longrope", 48));
  EXPECT_EQ(config.attention.rotary_dims, 96);
  EXPECT_EQ(config.long_from, 4096);
  ASSERT_EQ(config.rope.inv_freq.size(), 48u);
  ASSERT_EQ(config.long_rope.inv_freq.size(), 48u);
  EXPECT_NEAR(config.rope.scale, 1.190238, 1e-6);
  EXPECT_EQ(config.rope.scale, config.long_rope.scale);
  EXPECT_FLOAT_EQ(config.rope.inv_freq[0], 1.0f);
  EXPECT_FLOAT_EQ(config.long_rope.inv_freq[0], 0.5f);
  const double wave = std::pow(10000.0, 2.0 / 96);
  EXPECT_NEAR(config.rope.inv_freq[1], 1 / (2 * wave), 1e-7);
  EXPECT_NEAR(config.long_rope.inv_freq[1], 1 / (3 * wave), 1e-7);
}

TEST(Rope, LongropesFormerNamesAreKnownInItsFamilyOnly) {
  EXPECT_EQ(parse("Phi3ForCausalLM", longrope("su", 48)).long_from, 4096);
  EXPECT_EQ(parse("Phi3ForCausalLM", longrope("yarn", 48)).long_from, 4096);
  EXPECT_THROW(parse("LlamaForCausalLM", longrope("su", 64)), Error);
}

TEST(Rope, NoScaleWithinTheOriginalContext) {
  std::string text = longrope("longrope", 48);
  text.replace(text.find("4096"), 4, "131072");
  EXPECT_EQ(parse("Phi3ForCausalLM", text).rope.scale, 1.0f);
}

// Frequencies of Llama 3.1's settings, from transformers' _compute_llama3_parameters.
TEST(Rope, Llama3StretchesLongWaves) {
  const ModelConfig config = parse("LlamaForCausalLM", R"("rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                     "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})");
  const std::vector<float>& found = config.rope.inv_freq;
  ASSERT_EQ(found.size(), 64u);
  const double theta = 500000.0;
  EXPECT_FLOAT_EQ(found[0], 1.0f);
  EXPECT_FLOAT_EQ(found[28], static_cast<float>(std::pow(theta, -56.0 / 128)));       // short wave
  EXPECT_FLOAT_EQ(found[63], static_cast<float>(std::pow(theta, -126.0 / 128) / 8));  // long wave
  const double middle = std::pow(theta, -64.0 / 128);  // wave 4443: between 2048 and 8192
  const double smooth = (8192 * middle / (2 * M_PI) - 1) / 3;
  EXPECT_NEAR(found[32], (1 - smooth) * middle / 8 + smooth * middle, 1e-9);
  EXPECT_EQ(config.long_from, 0);
  EXPECT_EQ(config.rope.inv_freq, config.long_rope.inv_freq);
}

void expect_refused(const std::string& architecture, const std::string& more,
                    const std::string& part) {
  try {
    parse(architecture, more);
    ADD_FAILURE() << more;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Rope, MalformedScaling) {
  const std::string theta = R"("rope_theta": 1e4, )";
  for (const char* value : {"3", "[]", "\"default\"", "{}", R"({"type": 3})"}) {
    expect_refused("LlamaForCausalLM", theta + "\"rope_scaling\": " + value, "rope_scaling");
  }
  expect_refused("Phi3ForCausalLM", longrope("longrope", 47), "short_factor: found 47 factors");
  expect_refused("Phi3ForCausalLM", longrope("longrope", 64), "short_factor: found 64 factors");
  const auto longrope_with = [](const std::string& what, const std::string& value) {
    std::string text = longrope("longrope", 48);
    return text.replace(text.find(what), what.size(), value);
  };
  expect_refused("Phi3ForCausalLM", longrope_with("1.000000", "0"), "short_factor[0]");
  expect_refused("Phi3ForCausalLM", longrope_with("1.000000", "-1"), "short_factor[0]");
  expect_refused("Phi3ForCausalLM", longrope_with("1.000000", "1e300"), "short_factor[0]");
  expect_refused("Phi3ForCausalLM", longrope_with("1.000000", "null"), "short_factor[0]");
  expect_refused("Phi3ForCausalLM", longrope_with("4096", "1"), "original_max_position_embeddings");
  expect_refused("Phi3ForCausalLM", longrope_with("4096", "null"), "missing");
  expect_refused("Phi3ForCausalLM", longrope_with("\"type\"", "\"long_mscale\": 1, \"type\""),
                 "long_mscale");
}

TEST(Rope, MalformedLlama3) {
  const auto llama3 = [](const char* factor, const char* low, const char* high,
                         const char* original) {
    return std::string(R"("rope_theta": 1e4, "rope_scaling": {"rope_type": "llama3", "factor": )") +
           factor + R"(, "low_freq_factor": )" + low + R"(, "high_freq_factor": )" + high +
           R"(, "original_max_position_embeddings": )" + original + "}";
  };
  const std::string name = "LlamaForCausalLM";
  EXPECT_EQ(parse(name, llama3("8", "1", "4", "8192")).rope.inv_freq.size(), 64u);
  expect_refused(name, llama3("0", "1", "4", "8192"), "rope_scaling.factor");
  expect_refused(name, llama3("1e-300", "1", "4", "8192"), "rope_scaling.factor");
  expect_refused(name, llama3("8", "0", "4", "8192"), "rope_scaling.low_freq_factor");
  expect_refused(name, llama3("8", "4", "4", "8192"), "rope_scaling.high_freq_factor");
  expect_refused(name, llama3("8", "1", "1e9", "8192"), "rope_scaling.high_freq_factor");
  expect_refused(name, llama3("8", "1", "4", "0"), "original_max_position_embeddings");
  expect_refused(name, llama3("8", "1", "4", "8192.5"), "original_max_position_embeddings");
  expect_refused(name, llama3("8", "1", "4", "null"), "missing");
}

}  // namespace
}  // namespace upg::model
