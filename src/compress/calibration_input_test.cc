// What calibration may be given: texts that are none, models whose inputs overflow, are zero or
// repeat themselves. One line that names the cause and nothing written, or a file without a NaN.
#include <gtest/gtest.h>

#include <cmath>

#include "codec/matrix.h"
#include "compress/compress_testing.h"
#include "compress/stored_model.h"
#include "upg/compress.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

class CalibrationInputTest : public testing::Test {
 protected:
  CalibrationInputTest() {
    checkpoint_.tokenizer = true;
    options_.calibrate = (folder_ / "text").native();
    options_.calibration_windows = 4;
    options_.tensor_codecs = {{"*.layers.*", "path3"}};
    options_.threads = 2;
    text_ = tiny_text();
  }

  // The error of the compression; checks that nothing is left.
  std::string refused(ErrorCode code = ErrorCode::kInvalidData) {
    std::string message;
    write_inputs();
    const std::vector<std::string> before = folder_.entries();
    try {
      compress(folder_ / "source", folder_ / "out.upg", options_);
      ADD_FAILURE() << "it went well";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      message = error.what();
    }
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    std::vector<std::string> left = folder_.entries();
    std::erase(left, "out.upg.journal");
    EXPECT_EQ(left, before);
    return message;
  }

  // Compresses; every weight of the file is finite. (How close the weights are says nothing here:
  // so short a text moves targets far.)
  void works() {
    write_inputs();
    options_.force = true;
    compress(folder_ / "source", folder_ / "out.upg", options_);
    const VerifyReport report = verify(folder_ / "out.upg", folder_ / "source");
    EXPECT_TRUE(report.ok);
    for (const auto& tensor : report.tensors) {
      EXPECT_TRUE(std::isfinite(tensor.relative_error)) << tensor.name;
    }
    expect_finite();
  }

  void edit(std::function<void(const model::TensorSpec&, std::vector<float>&)> change) {
    checkpoint_.edit = [change](const model::TensorSpec& spec, std::vector<float>& values) {
      change(spec, values);
      return true;
    };
  }

  TempFolder folder_;
  TinyCheckpoint checkpoint_;
  CompressOptions options_;
  std::string text_;

 private:
  void write_inputs() {
    checkpoint_.write(folder_ / "source");
    write_bytes(folder_ / "text", text_);
  }

  void expect_finite() {
    const StoredModel stored(folder_ / "out.upg");
    for (const StoredTensor& tensor : stored.tensors()) {
      if (tensor.record == nullptr) continue;
      std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.cols));
      codec::decode_rows(stored.bind(tensor), 0, tensor.rows, values.data());
      for (const float value : values) ASSERT_TRUE(std::isfinite(value)) << tensor.name;
    }
  }
};

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_F(CalibrationInputTest, TextsThatAreNone) {
  const std::pair<std::string, std::string_view> cases[] = {
      {"", "empty"},
      {text_ + std::string(1, '\0') + "x", "zero byte at 20"},
      {text_ + "\xff", "not UTF-8 at 20"},
      {text_ + "\xc3", "not UTF-8 at 20"},
      {std::string(3000, '\x02'), "control"},
      {"a few words", "found 11 tokens, needed are at least 512"}};
  for (const auto& [text, part] : cases) {
    text_ = text;
    const std::string message = refused();
    EXPECT_TRUE(has(message, part)) << message;
    EXPECT_TRUE(has(message, (folder_ / "text").native())) << message;
  }
}

TEST_F(CalibrationInputTest, TextThatIsNotThere) {
  options_.calibrate = (folder_ / "elsewhere").native();
  EXPECT_TRUE(has(refused(ErrorCode::kUsage), "elsewhere"));
}

TEST_F(CalibrationInputTest, TextWithLineEndsAndTabs) {
  for (size_t i = 0; i + 8 < text_.size(); i += 8) text_.replace(i, 2, "\r\n");
  text_ += "\t\f\v";
  works();
}

TEST_F(CalibrationInputTest, TokenizersThatAreNone) {
  checkpoint_.tokenizer = false;  // there is a file, but no tokenizer in it
  EXPECT_TRUE(has(refused(), "tokenizer.json"));
  std::filesystem::remove(folder_ / "source" / "tokenizer.json");
  try {
    compress(folder_ / "source", folder_ / "out.upg", options_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_TRUE(has(error.what(), "holds no tokenizer.json")) << error.what();
    EXPECT_TRUE(has(error.what(), "--calibrate none")) << error.what();
  }
}

TEST_F(CalibrationInputTest, InputsThatOverflow) {
  edit([](const model::TensorSpec& spec, std::vector<float>& values) {
    if (spec.name != "model.layers.1.post_attention_layernorm.weight") return;
    for (float& value : values) value = 9e11f;  // gate times up is squared once more
  });
  const std::string message = refused();
  EXPECT_TRUE(has(message, "model.layers.1.mlp.down_proj.weight")) << message;
  EXPECT_TRUE(has(message, "finite")) << message;
}

TEST_F(CalibrationInputTest, InputsThatAreZero) {
  edit([](const model::TensorSpec& spec, std::vector<float>& values) {
    if (spec.name != "model.layers.0.post_attention_layernorm.weight") return;
    for (float& value : values) value = 0;
  });
  works();
}

TEST_F(CalibrationInputTest, ColumnsThatAreDeadOrEqual) {
  edit([](const model::TensorSpec& spec, std::vector<float>& values) {
    if (spec.role != model::Role::kEmbedding) return;
    for (int64_t r = 0; r < spec.rows; ++r) {
      float* row = values.data() + r * spec.cols;
      for (int64_t c = 0; c < 40; ++c) row[c] = row[40];  // all the same
      for (int64_t c = 60; c < 90; ++c) row[c] = 0;
    }
  });
  works();
}

TEST_F(CalibrationInputTest, FewerTokensThanColumns) {
  // Of rank one: a text of one letter.
  text_ = std::string(2048, 'a');
  works();
}

TEST_F(CalibrationInputTest, MatricesOfZeros) {
  edit([](const model::TensorSpec& spec, std::vector<float>& values) {
    if (spec.name != "model.layers.0.mlp.gate_up_proj.weight") return;
    for (float& value : values) value = 0;
  });
  works();
}

}  // namespace
}  // namespace upg::compression
