#include "runtime/generation_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "upg/error.h"

namespace upg::runtime {
namespace {

SamplingOptions defaults(std::string_view json) { return sampling_defaults(json, "gen.json"); }

TEST(GenerationConfig, NothingSaidMeansOurDefaults) {
  for (const std::string_view json :
       {"", "{}", R"({"eos_token_id": [1, 2], "temperature": null, "top_k": null})"}) {
    const SamplingOptions options = defaults(json);
    EXPECT_EQ(options.temperature, 0.8f);
    EXPECT_EQ(options.top_k, 40);
    EXPECT_EQ(options.top_p, 0.95f);
    EXPECT_EQ(options.min_p, 0.05f);
    EXPECT_EQ(options.repeat_penalty, 1.0f);
    EXPECT_EQ(options.repeat_last_n, 64);
  }
}

TEST(GenerationConfig, WhatTheFileSaysHolds) {
  const SamplingOptions options = defaults(
      R"({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 1, "min_p": 0,
          "repetition_penalty": 1.1})");
  EXPECT_EQ(options.temperature, 0.6f);
  EXPECT_EQ(options.top_k, 20);
  EXPECT_EQ(options.top_p, 1.0f);
  EXPECT_EQ(options.min_p, 0.0f);
  EXPECT_EQ(options.repeat_penalty, 1.1f);
  EXPECT_EQ(options.repeat_last_n, -1);
  EXPECT_EQ(defaults(R"({"temperature": 1})").temperature, 1.0f);
  EXPECT_EQ(defaults(R"({"top_k": -1})").top_k, 0);
}

TEST(GenerationConfig, NoSamplingMeansGreedy) {
  const SamplingOptions options = defaults(R"({"do_sample": false, "temperature": 0.7})");
  EXPECT_EQ(options.temperature, 0.0f);
}

TEST(GenerationConfig, RefusesByFileAndField) {
  const auto message = [](std::string_view json) -> std::string {
    try {
      defaults(json);
      return "accepted";
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidData ? error.what() : "other code";
    }
  };
  using testing::StartsWith;
  EXPECT_THAT(message(R"({"temperature": -1})"), StartsWith("gen.json: temperature: found -1"));
  EXPECT_THAT(message(R"({"temperature": 1e39})"), StartsWith("gen.json: temperature: found 1e"));
  EXPECT_THAT(message(R"({"top_p": 1.5})"), StartsWith("gen.json: top_p: found 1.5"));
  EXPECT_THAT(message(R"({"min_p": "x"})"), StartsWith("gen.json: min_p: found"));
  EXPECT_THAT(message(R"({"top_k": 1.5})"), StartsWith("gen.json: top_k: found"));
  EXPECT_THAT(message(R"({"repetition_penalty": 0})"), StartsWith("gen.json: repetition_penalty"));
  EXPECT_THAT(message(R"({"do_sample": 1})"), StartsWith("gen.json: do_sample: found"));
  EXPECT_THAT(message("[]"), StartsWith("gen.json: found"));
  EXPECT_THAT(message("{"), StartsWith("gen.json: "));
}

}  // namespace
}  // namespace upg::runtime
