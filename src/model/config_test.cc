#include "model/config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <string_view>

#include "upg/error.h"

namespace upg::model {
namespace {

using Members = std::map<std::string, std::string>;

// A config as JSON text; a member with an empty value is left out.
std::string text_of(const Members& members) {
  std::string text = "{";
  for (const auto& [key, value] : members) {
    if (value.empty()) continue;
    if (text.size() > 1) text += ", ";
    text += fmt::format("\"{}\": {}", key, value);
  }
  return text + "}";
}

// The smallest config of an architecture.
Members base_config(const std::string& architecture) {
  return {{"architectures", "[\"" + architecture + "\"]"},
          {"vocab_size", "1000"},
          {"hidden_size", "64"},
          {"intermediate_size", "128"},
          {"num_hidden_layers", "3"},
          {"num_attention_heads", "4"},
          {"num_key_value_heads", "2"},
          {"max_position_embeddings", "512"},
          {"rms_norm_eps", "1e-05"},
          {"rope_theta", "10000.0"},
          {"hidden_act", "\"silu\""}};
}

Members with(Members members, const Members& changes) {
  for (const auto& [key, value] : changes) members[key] = value;
  return members;
}

ModelConfig parse(const Members& members, std::string_view generation = {}) {
  return parse_config(text_of(members), generation, "m/config.json");
}

// The error's code and message; kIo when there is none.
struct Failure {
  ErrorCode code = ErrorCode::kIo;
  std::string message;
};

Failure failure_of(const Members& members, std::string_view generation = {}) {
  try {
    parse(members, generation);
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

void expect_error(const Members& members, ErrorCode code, std::string_view part) {
  const Failure failure = failure_of(members);
  EXPECT_EQ(failure.code, code) << text_of(members) << "\n" << failure.message;
  EXPECT_NE(failure.message.find(part), std::string::npos) << failure.message;
  EXPECT_EQ(failure.message.find('\n'), std::string::npos);
  EXPECT_LE(failure.message.size(), 1024u);
}

const char* const kPhi3 = "Phi3ForCausalLM";
const char* const kLlama = "LlamaForCausalLM";
const char* const kQwen2 = "Qwen2ForCausalLM";
const char* const kQwen3 = "Qwen3ForCausalLM";
const char* const kMistral = "MistralForCausalLM";

TEST(Config, ReadsEveryNumber) {
  const ModelConfig config = parse(base_config(kPhi3));
  EXPECT_EQ(config.architecture, kPhi3);
  EXPECT_EQ(config.vocabulary, 1000);
  EXPECT_EQ(config.hidden, 64);
  EXPECT_EQ(config.intermediate, 128);
  EXPECT_EQ(config.layers, 3);
  EXPECT_EQ(config.max_positions, 512);
  EXPECT_EQ(config.norm_epsilon, 1e-5f);
  EXPECT_EQ(config.attention.heads, 4);
  EXPECT_EQ(config.attention.kv_heads, 2);
  EXPECT_EQ(config.attention.head_dim, 16);
  EXPECT_EQ(config.attention.rotary_dims, 16);
  EXPECT_EQ(config.attention.scale, 0.25f);
  EXPECT_EQ(config.windows, std::vector<int>(3, 0));
  EXPECT_EQ(config.rope.inv_freq.size(), 8u);
  EXPECT_EQ(config.long_from, 0);
  EXPECT_FALSE(config.tied_head);
}

TEST(Config, ArchitecturesDifferAsTheTableSays) {
  const ModelConfig phi3 = parse(base_config(kPhi3));
  EXPECT_TRUE(phi3.fused_qkv && phi3.fused_gate_up && !phi3.qkv_bias && !phi3.qk_norm);
  const ModelConfig llama = parse(base_config(kLlama));
  EXPECT_TRUE(!llama.fused_qkv && !llama.fused_gate_up && !llama.qkv_bias && !llama.qk_norm);
  EXPECT_TRUE(parse(base_config(kQwen2)).qkv_bias);
  EXPECT_TRUE(parse(base_config(kQwen3)).qk_norm);
  EXPECT_FALSE(parse(base_config(kQwen3)).qkv_bias);
  EXPECT_FALSE(parse(base_config(kMistral)).qkv_bias);
}

TEST(Config, HeadDimIsStatedOrHiddenOverHeads) {
  EXPECT_EQ(parse(with(base_config(kQwen3), {{"head_dim", "128"}})).attention.head_dim, 128);
  EXPECT_EQ(parse(with(base_config(kMistral), {{"head_dim", "null"}})).attention.head_dim, 16);
  EXPECT_EQ(parse(with(base_config(kLlama), {{"hidden_size", "66"}, {"head_dim", "20"}}))
                .attention.head_dim,
            20);
}

TEST(Config, EarlyConfigsMayLeaveOutWhatWasFixed) {
  const Members early = {{"rope_theta", ""}, {"num_key_value_heads", ""}};
  const ModelConfig llama = parse(with(base_config(kLlama), early));
  EXPECT_EQ(llama.attention.kv_heads, 4);
  EXPECT_FLOAT_EQ(llama.rope.inv_freq[1], 1 / std::pow(10000.0f, 2.0f / 16));
  expect_error(with(base_config(kQwen2), {{"rope_theta", ""}}), ErrorCode::kInvalidData,
               "rope_theta: missing");
  expect_error(with(base_config(kMistral), {{"num_key_value_heads", ""}}), ErrorCode::kInvalidData,
               "num_key_value_heads: missing");
}

TEST(Config, Windows) {
  const auto window = [](const char* architecture, const Members& changes) {
    return parse(with(base_config(architecture), changes)).windows[0];
  };
  EXPECT_EQ(window(kMistral, {{"sliding_window", "100"}}), 100);
  EXPECT_EQ(window(kMistral, {{"sliding_window", "null"}}), 0);
  EXPECT_EQ(window(kPhi3, {{"sliding_window", "511"}}), 511);
  EXPECT_EQ(window(kPhi3, {{"sliding_window", "512"}}), 0);
  EXPECT_EQ(window(kPhi3, {{"sliding_window", "262144"}}), 0);
  EXPECT_EQ(window(kQwen2, {{"sliding_window", "100"}, {"use_sliding_window", "false"}}), 0);
  EXPECT_EQ(window(kQwen2, {{"sliding_window", "512"}, {"use_sliding_window", "true"}}), 0);
  EXPECT_EQ(window(kQwen3, {{"sliding_window", "100"}}), 0);
  EXPECT_EQ(window(kQwen3, {{"layer_types", "[\"full_attention\"]"}}), 0);
}

TEST(Config, StopIdsAreTheUnionOfBothFiles) {
  const auto stops = [](const std::string& config, std::string_view generation) {
    return parse(with(base_config(kPhi3), {{"eos_token_id", config}}), generation).stop_ids;
  };
  EXPECT_EQ(stops("7", R"({"eos_token_id": [9, 7, 8]})"), (std::vector<int32_t>{7, 9, 8}));
  EXPECT_EQ(stops("[5, 6]", ""), (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(stops("null", R"({"eos_token_id": 3})"), (std::vector<int32_t>{3}));
  EXPECT_EQ(stops("", "{}"), std::vector<int32_t>());
}

TEST(Config, NamesTheFileThatIsWrong) {
  const Failure failure = failure_of(base_config(kPhi3), R"({"eos_token_id": "x"})");
  EXPECT_EQ(failure.code, ErrorCode::kInvalidData);
  EXPECT_TRUE(failure.message.starts_with("m/generation_config.json: eos_token_id"))
      << failure.message;
}

TEST(Config, RefusesWhatItDoesNotKnowByName) {
  struct Row {
    const char* architecture;
    Members changes;
    const char* part;
  };
  const Row rows[] = {
      {kPhi3, {{"architectures", "[\"Gemma2ForCausalLM\"]"}}, "\"Gemma2ForCausalLM\""},
      {kPhi3, {{"hidden_act", "\"gelu\""}}, "hidden_act: found \"gelu\""},
      {kPhi3, {{"attention_bias", "true"}}, "attention_bias"},
      {kLlama, {{"mlp_bias", "true"}}, "mlp_bias"},
      {kQwen2, {{"use_mrope", "true"}}, "use_mrope"},
      {kLlama, {{"quantization_config", "{\"quant_method\": \"gptq\", \"bits\": 0}"}}, "\"gptq\""},
      {kLlama, {{"quantization_config", "{}"}}, "quantization_config"},
      {kLlama, {{"partial_rotary_factor", "0.5"}}, "partial_rotary_factor"},
      {kLlama, {{"sliding_window", "100"}}, "sliding_window"},
      {kQwen2, {{"sliding_window", "100"}, {"use_sliding_window", "true"}}, "sliding_window"},
      {kQwen3, {{"layer_types", "[\"sliding_attention\"]"}}, "sliding_attention"},
      {kLlama, {{"rope_scaling", R"({"rope_type": "yarn", "factor": 4.0})"}}, "\"yarn\""},
      {kLlama, {{"rope_scaling", R"({"type": "linear", "factor": 4.0})"}}, "\"linear\""},
      {kPhi3, {{"rope_scaling", R"({"type": "dynamic", "factor": 4.0})"}}, "\"dynamic\""},
      {kQwen2, {{"rope_scaling", R"({"type": "mrope"})"}}, "\"mrope\""},
      {kMistral, {{"rope_scaling", R"({"rope_type": "llama3"})"}}, "\"llama3\""},
      {kLlama, {{"rope_scaling", R"({"rope_type": "longrope"})"}}, "\"longrope\""},
      {kLlama, {{"rope_parameters", R"({"rope_type": "default"})"}}, "rope_parameters"},
  };
  for (const Row& row : rows) {
    expect_error(with(base_config(row.architecture), row.changes), ErrorCode::kUnsupported,
                 row.part);
  }
  expect_error(with(base_config(kPhi3), {{"architectures", "[\"Gemma2ForCausalLM\"]"}}),
               ErrorCode::kUnsupported, architecture_names());
}

// Every number of a config, wrong in every way: an error that names the field, never anything else.
TEST(Config, MalformedNumbers) {
  const char* const fields[] = {
      "vocab_size",          "hidden_size",         "intermediate_size",       "num_hidden_layers",
      "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "head_dim"};
  const char* const values[] = {"0",
                                "-1",
                                "2147483648",
                                "4294967296",
                                "1099511627776",
                                "9007199254740993",
                                "9223372036854775807",
                                "9223372036854775808",
                                "18446744073709551615",
                                "1e30",
                                "2.0",
                                "2.9",
                                "\"64\"",
                                "true",
                                "[64]",
                                "{}"};
  for (const char* field : fields) {
    for (const char* value : values) {
      expect_error(with(base_config(kPhi3), {{field, value}}), ErrorCode::kInvalidData,
                   fmt::format("m/config.json: {}: found", field));
    }
  }
  for (const char* value : {"0", "-1e-5", "1e40", "1e-40", "\"x\"", "[]", "1.5"}) {
    expect_error(with(base_config(kPhi3), {{"rms_norm_eps", value}}), ErrorCode::kInvalidData,
                 "rms_norm_eps: found");
  }
  for (const char* value : {"0", "-10000", "1", "1e16", "\"x\"", "{}"}) {
    expect_error(with(base_config(kPhi3), {{"rope_theta", value}}), ErrorCode::kInvalidData,
                 "rope_theta: found");
  }
  for (const char* value : {"0", "-0.5", "1.5", "0.01", "0.8125", "\"x\""}) {  // 0.8125: 13 of 16
    expect_error(with(base_config(kPhi3), {{"partial_rotary_factor", value}}),
                 ErrorCode::kInvalidData, "partial_rotary_factor: found");
  }
  for (const char* value : {"0", "-1", "1.0", "\"x\"", "4294967296"}) {
    expect_error(with(base_config(kMistral), {{"sliding_window", value}}), ErrorCode::kInvalidData,
                 "sliding_window: found");
  }
  for (const char* value : {"-1", "1000", "1.0", "[1, 1000]", "[null]", "{}", "4294967296"}) {
    expect_error(with(base_config(kPhi3), {{"eos_token_id", value}}), ErrorCode::kInvalidData,
                 "eos_token_id: found");
  }
}

TEST(Config, NumbersThatDoNotFitTogether) {
  expect_error(with(base_config(kLlama), {{"hidden_size", "65"}}), ErrorCode::kInvalidData,
               "hidden_size: found 65");
  expect_error(with(base_config(kLlama), {{"num_key_value_heads", "3"}}), ErrorCode::kInvalidData,
               "a divisor of the 4 heads");
  expect_error(with(base_config(kLlama), {{"num_key_value_heads", "8"}}), ErrorCode::kInvalidData,
               "from 1 to 4");
  expect_error(with(base_config(kLlama), {{"head_dim", "15"}}), ErrorCode::kInvalidData,
               "head_dim: found 15");
  // hidden 4 over 4 heads: one dimension a head
  expect_error(with(base_config(kLlama), {{"hidden_size", "4"}}), ErrorCode::kInvalidData,
               "head_dim: found 1");
}

TEST(Config, MissingAndMistypedFields) {
  for (const auto& [key, value] : base_config(kMistral)) {
    expect_error(with(base_config(kMistral), {{key, ""}}), ErrorCode::kInvalidData,
                 fmt::format("m/config.json: {}: missing", key));
    expect_error(with(base_config(kMistral), {{key, "{}"}}), ErrorCode::kInvalidData,
                 fmt::format("m/config.json: {}: found", key));
  }
  for (const char* value : {"[]", "[\"a\", \"b\"]", "[1]", "\"Phi3ForCausalLM\""}) {
    expect_error(with(base_config(kPhi3), {{"architectures", value}}), ErrorCode::kInvalidData,
                 "architectures");
  }
  for (const char* key : {"tie_word_embeddings", "attention_bias", "use_sliding_window"}) {
    expect_error(with(base_config(kQwen2), {{key, "1"}}), ErrorCode::kInvalidData, key);
  }
}

TEST(Config, BrokenTexts) {
  const auto expect_invalid = [](const std::string& text) {
    try {
      parse_config(text, "", "config.json");
      ADD_FAILURE() << text.substr(0, 60);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidData) << error.what();
      EXPECT_TRUE(std::string_view(error.what()).starts_with("config.json: ")) << error.what();
    }
  };
  for (const char* text :
       {"", " ", "null", "[]", "3", "{", "{}", "\xef\xbb\xbf{}", "{\"a\": 1e400}"}) {
    expect_invalid(text);
  }
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  expect_invalid(deep);
  expect_invalid(std::string(size_t{17} << 20, ' '));
  std::string twice = text_of(base_config(kPhi3));
  twice.insert(1, "\"hidden_size\": 64, ");
  expect_invalid(twice);
}

}  // namespace
}  // namespace upg::model
