// What the outside gets wrong: one line that names the tensor, and nothing written.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compress/compress_testing.h"
#include "format/safetensors.h"
#include "format/upg_file.h"
#include "upg/compress.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

constexpr const char* kDown = "model.layers.1.mlp.down_proj.weight";

// Compresses the checkpoint into `folder` and returns the error; checks that nothing is left.
std::string compress_error(const TinyCheckpoint& checkpoint, const std::string& profile = "10x") {
  const TempFolder folder;
  checkpoint.write(folder / "source");
  CompressOptions options = uncalibrated();
  options.profile = profile;
  std::string message;
  try {
    compress(folder / "source", folder / "out.upg", options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidData) << error.what();
    message = error.what();
  }
  EXPECT_EQ(folder.entries(), std::vector<std::string>{"source"});
  EXPECT_EQ(message.find('\n'), std::string::npos);
  return message;
}

TEST(BadCheckpoint, NamesTheTensorAndElementThatIsNotFinite) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30f}) {
    for (const char* profile : {"10x", "sparse", "mdcsr", "8bit", "raw"}) {
      TinyCheckpoint checkpoint;
      checkpoint.edit = [value](const model::TensorSpec& spec, std::vector<float>& values) {
        if (spec.name == kDown) values[3 * 208 + 7] = value;
        return true;
      };
      const std::string message = compress_error(checkpoint, profile);
      EXPECT_NE(message.find(kDown), std::string::npos) << message;
      EXPECT_NE(message.find("[3, 7]"), std::string::npos) << message;
    }
  }
}

TEST(BadCheckpoint, NamesAVectorThatIsNotFinite) {
  TinyCheckpoint checkpoint;
  checkpoint.edit = [](const model::TensorSpec& spec, std::vector<float>& values) {
    if (spec.name == "model.norm.weight") values[5] = NAN;
    return true;
  };
  EXPECT_NE(compress_error(checkpoint).find("model.norm.weight"), std::string::npos);
}

TEST(BadCheckpoint, NamesMissingTensors) {
  TinyCheckpoint checkpoint;
  checkpoint.edit = [](const model::TensorSpec& spec, std::vector<float>&) {
    return spec.name != kDown;
  };
  const std::string message = compress_error(checkpoint);
  EXPECT_NE(message.find(kDown), std::string::npos) << message;
  EXPECT_NE(message.find("MISSING"), std::string::npos) << message;
}

TEST(BadCheckpoint, NamesTensorsItHasNoPlaceFor) {
  TinyCheckpoint checkpoint;
  checkpoint.extra = {{"model.layers.0.self_attn.qkv_proj.bias", 224}};
  EXPECT_NE(compress_error(checkpoint).find("qkv_proj.bias"), std::string::npos);
}

TEST(BadCheckpoint, IgnoresRotaryTables) {
  const TempFolder folder;
  TinyCheckpoint checkpoint;
  checkpoint.extra = {{"model.layers.0.self_attn.rotary_emb.inv_freq", 16}};
  checkpoint.write(folder / "source");
  compress(folder / "source", folder / "out.upg", uncalibrated());
  EXPECT_TRUE(verify(folder / "out.upg", folder / "source").ok);
}

TEST(BadCheckpoint, AZeroMatrixIsFine) {
  for (const char* profile : {"10x", "sparse", "mdcsr", "8bit", "raw"}) {
    const TempFolder folder;
    TinyCheckpoint checkpoint;
    checkpoint.edit = [](const model::TensorSpec& spec, std::vector<float>& values) {
      if (spec.name == kDown) std::fill(values.begin(), values.end(), 0.0f);
      return true;
    };
    checkpoint.write(folder / "source");
    CompressOptions options = uncalibrated();
    options.profile = profile;
    compress(folder / "source", folder / "out.upg", options);
    const VerifyReport report = verify(folder / "out.upg", folder / "source");
    EXPECT_TRUE(report.ok) << profile;
    for (const VerifyReport::TensorError& tensor : report.tensors) {
      if (tensor.name != kDown) continue;
      EXPECT_EQ(tensor.relative_error, 0) << profile;
    }
  }
}

class VerifyTest : public testing::Test {
 protected:
  void SetUp() override {
    TinyCheckpoint().write(folder_ / "source");
    compress(folder_ / "source", file(), uncalibrated());
  }
  std::filesystem::path file() const { return folder_ / "out.upg"; }
  TempFolder folder_;
};

TEST_F(VerifyTest, FindsAFlippedBitInEveryTensor) {
  const std::string good = read_bytes(file());
  const format::SafetensorsFile container(file());
  for (const format::TensorEntry& tensor : container.tensors()) {
    std::string bad = good;
    bad[tensor.offset + tensor.view.bytes.size() / 2] ^= 0x10;
    write_bytes(folder_ / "bad.upg", bad);
    const VerifyReport report = verify(folder_ / "bad.upg", "");
    ASSERT_FALSE(report.ok) << tensor.name;
    EXPECT_NE(report.errors.front().find(tensor.name), std::string::npos) << report.errors.front();
  }
}

TEST_F(VerifyTest, FindsAFlippedBitInTheHeaderAndAShortFile) {
  const std::string good = read_bytes(file());
  std::string bad = good;
  bad[100] ^= 1;
  write_bytes(folder_ / "bad.upg", bad);
  EXPECT_FALSE(verify(folder_ / "bad.upg", "").ok);
  write_bytes(folder_ / "bad.upg", std::string_view(good).substr(0, good.size() - 1));
  EXPECT_FALSE(verify(folder_ / "bad.upg", "").ok);
}

TEST_F(VerifyTest, FindsAnotherModelsSource) {
  TinyCheckpoint other;
  other.tied = true;
  other.write(folder_ / "other");
  const VerifyReport report = verify(file(), folder_ / "other");
  EXPECT_FALSE(report.ok);
}

TEST_F(VerifyTest, AMissingFileIsWrongUsage) {
  EXPECT_THROW(verify(folder_ / "nowhere.upg", ""), Error);
  EXPECT_THROW(inspect(folder_ / "nowhere.upg"), Error);
}

TEST_F(VerifyTest, DecompressLeavesNothingWhenItFails) {
  std::filesystem::create_directory(folder_ / "full");
  write_bytes(folder_ / "full" / "file", "x");
  EXPECT_THROW(decompress(file(), folder_ / "full", ""), Error);
  EXPECT_THROW(decompress(file(), folder_ / "dense", "int4"), Error);
  EXPECT_THROW(decompress(file(), folder_ / "no" / "dense", ""), Error);
  const auto stop = [](const Progress&) { return false; };
  EXPECT_THROW(decompress(file(), folder_ / "dense", "", 0, stop), Error);
  const std::vector<std::string> expected = {"full", "out.upg", "source"};
  EXPECT_EQ(folder_.entries(), expected);
  std::filesystem::create_directory(folder_ / "empty");
  decompress(file(), folder_ / "empty", "f16");  // an empty folder is as good as none
  EXPECT_TRUE(std::filesystem::exists(folder_ / "empty" / "model.safetensors"));
  EXPECT_NE(read_bytes(folder_ / "empty" / "config.json").find("\"float16\""), std::string::npos);
}

}  // namespace
}  // namespace upg::compression
