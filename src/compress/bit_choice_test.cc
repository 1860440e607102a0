// Codecs chosen by measured sensitivity, through the plans of a small random checkpoint.
#include "compress/bit_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "compress/compress_testing.h"
#include "upg/compress.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

class BitChoiceTest : public testing::Test {
 protected:
  BitChoiceTest() {
    checkpoint_.tokenizer = true;
    checkpoint_.edit = loud;
    checkpoint_.write(folder_ / "source");
    write_bytes(folder_ / "text", tiny_text());
    options_.calibrate = (folder_ / "text").native();
    options_.calibration_windows = 4;
    options_.threads = 2;
  }

  // Norms of 1, so that every layer is heard in the predictions.
  static bool loud(const model::TensorSpec& spec, std::vector<float>& values) {
    for (float& value : values) value = spec.role == model::Role::kVector ? 1 : 2 * value;
    return true;
  }

  CompressPlan plan() { return plan_compression(folder_ / "source", options_); }

  std::string error_of_plan() {
    try {
      plan();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  static std::string codec_of(const CompressPlan& plan, std::string_view name) {
    for (const PlannedTensor& tensor : plan.tensors) {
      if (tensor.name == name) return tensor.codec;
    }
    return "no such tensor";
  }

  TempFolder folder_;
  TinyCheckpoint checkpoint_;
  CompressOptions options_;
};

TEST_F(BitChoiceTest, TheWholeFileMeetsTheTarget) {
  double before = 0;
  for (const double bits : {7.5, 6.5, 5.5}) {
    options_.bits = bits;
    const CompressPlan chosen = plan();
    EXPECT_LE(chosen.bits_per_weight, bits);
    EXPECT_GT(chosen.bits_per_weight, bits - 0.5);
    EXPECT_GT(chosen.expected_kl, before) << "fewer bits, more loss";
    before = chosen.expected_kl;
  }
  const CompressPlan by_bits = plan();
  options_.ratio = 32 / options_.bits;
  options_.bits = 0;
  EXPECT_EQ(plan().output_bytes, by_bits.output_bytes);
}

TEST_F(BitChoiceTest, TheFileIsAsLongAsThePlanSays) {
  options_.ratio = 5.5;
  const CompressResult result = compress(folder_ / "source", folder_ / "out.upg", options_);
  EXPECT_GE(result.ratio_f32, 5.5);
  EXPECT_TRUE(verify(folder_ / "out.upg", folder_ / "source").ok);
}

TEST_F(BitChoiceTest, NamesTheNearestTargetThatCanBeMet) {
  options_.ratio = 20;
  const std::string error = error_of_plan();
  const size_t at = error.find("the nearest is --ratio ");
  ASSERT_NE(at, std::string::npos) << error;
  options_.ratio = std::stod(error.substr(at + 23));
  EXPECT_GE(plan().ratio_f32, options_.ratio) << "what the error names can be met";
}

TEST_F(BitChoiceTest, TenTimesSpendsWhatItsLayersHaveLeft) {
  options_.plan_file = folder_ / "plan.json";
  const CompressPlan chosen = plan();
  EXPECT_LE(chosen.layer_bits_at_5120, kLayerBits);
  EXPECT_GT(chosen.layer_bits_at_5120, 3.01);
  EXPECT_EQ(codec_of(chosen, "lm_head.weight"), "path4");
  EXPECT_EQ(codec_of(chosen, "model.embed_tokens.weight"), "path4");
  // The file is used the second time, measured or not.
  options_.calibrate = kNoCalibration;
  const CompressPlan again = plan();
  for (const PlannedTensor& tensor : chosen.tensors) {
    EXPECT_EQ(codec_of(again, tensor.name), tensor.codec);
  }
  EXPECT_EQ(again.expected_kl, chosen.expected_kl);
}

TEST_F(BitChoiceTest, OverridesStay) {
  options_.bits = 8;
  options_.tensor_codecs = {{"*.down_proj", "path2"}, {"lm_head", "raw"}};
  const CompressPlan chosen = plan();
  EXPECT_EQ(codec_of(chosen, "model.layers.0.mlp.down_proj.weight"), "path2");
  EXPECT_EQ(codec_of(chosen, "lm_head.weight"), "raw");
  for (const PlannedTensor& tensor : chosen.tensors) {
    if (tensor.name == "lm_head.weight") {
      EXPECT_FALSE(tensor.chosen);
    }
  }
}

TEST_F(BitChoiceTest, MeasuresWhatIsSensitive) {
  // An attention whose outputs are nearly nothing can be coded as badly as one likes.
  checkpoint_.edit = [](const model::TensorSpec& spec, std::vector<float>& values) {
    loud(spec, values);
    if (spec.name == "model.layers.0.self_attn.o_proj.weight") {
      for (float& value : values) value *= 1e-3f;
    }
    return true;
  };
  checkpoint_.write(folder_ / "other");
  options_.plan_file = folder_ / "plan.json";
  const CompressPlan chosen = plan_compression(folder_ / "other", options_);
  double quiet = 0;
  double least = 1;
  for (const PlannedTensor& tensor : chosen.tensors) {
    if (!tensor.chosen) continue;
    const bool is_quiet = tensor.name.starts_with("model.layers.0.self_attn.");
    (is_quiet ? quiet : least) = is_quiet ? std::max(quiet, tensor.kl) : std::min(least, tensor.kl);
  }
  EXPECT_LT(quiet, least / 10);
}

TEST_F(BitChoiceTest, RefusesContradictions) {
  options_.bits = 4;
  options_.ratio = 8;
  EXPECT_NE(error_of_plan().find("one of them"), std::string::npos);
  options_.ratio = 0;
  options_.profile = "8bit";
  EXPECT_NE(error_of_plan().find("found profile 8bit"), std::string::npos);
  options_.profile = "10x";
  options_.bits = -1;
  EXPECT_NE(error_of_plan().find("found -1"), std::string::npos);
  options_.bits = 0;
  options_.ratio = NAN;
  EXPECT_NE(error_of_plan().find("found nan"), std::string::npos);
}

TEST_F(BitChoiceTest, RefusesPlansOfOtherModels) {
  options_.plan_file = folder_ / "plan.json";
  plan();
  const std::string good = read_bytes(options_.plan_file);
  const auto changed = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    write_bytes(options_.plan_file, text);
    return error_of_plan();
  };
  EXPECT_NE(changed("\"upg_plan\": 1", "\"upg_plan\": 7").find("upg_plan"), std::string::npos);
  EXPECT_NE(changed("\"rows\": 333", "\"rows\": 334").find("MISMATCH"), std::string::npos);
  EXPECT_NE(changed("\"path3\"", "\"path9\"").find("path9"), std::string::npos);
  EXPECT_NE(changed("layers.1.mlp.down", "layers.7.mlp.down").find("no matrix"), std::string::npos);
  EXPECT_NE(changed("layers.1.mlp.down", "layers.0.mlp.down").find("twice"), std::string::npos);
  write_bytes(options_.plan_file, "{");
  EXPECT_NE(error_of_plan().find("plan.json"), std::string::npos);
  write_bytes(options_.plan_file, R"({"upg_plan": 1, "tensors": []})");
  EXPECT_NE(error_of_plan().find("no entry for"), std::string::npos);
}

TEST_F(BitChoiceTest, APlanThatMissesTheTargetIsRefused) {
  options_.plan_file = folder_ / "plan.json";
  options_.bits = 7;
  plan();
  options_.bits = 5.5;
  EXPECT_NE(error_of_plan().find("asks for less"), std::string::npos);
}

}  // namespace
}  // namespace upg::compression
