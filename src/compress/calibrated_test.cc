// Calibrated compression end to end on a small random checkpoint.
#include <gtest/gtest.h>

#include "base/json.h"
#include "compress/compress_testing.h"
#include "upg/compress.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

class CalibratedTest : public testing::Test {
 protected:
  CalibratedTest() {
    checkpoint_.tokenizer = true;
    checkpoint_.write(folder_ / "source");
    write_bytes(folder_ / "text", tiny_text());
    options_.calibrate = (folder_ / "text").native();
    options_.calibration_windows = 5;
    options_.threads = 2;
  }

  std::string bytes(const CompressOptions& options, const char* name) {
    compress(folder_ / "source", folder_ / name, options);
    return read_bytes(folder_ / name);
  }

  TempFolder folder_;
  TinyCheckpoint checkpoint_;
  CompressOptions options_;
};

TEST_F(CalibratedTest, SameBytesForAnyNumberOfThreads) {
  const std::string two = bytes(options_, "two.upg");
  for (const int threads : {1, 3}) {
    options_.threads = threads;
    EXPECT_TRUE(bytes(options_, "other.upg") == two) << threads;
    std::filesystem::remove(folder_ / "other.upg");
  }
  EXPECT_TRUE(verify(folder_ / "two.upg", folder_ / "source").ok);
}

TEST_F(CalibratedTest, SameBytesWithActivationsInAFile) {
  const std::string roomy = bytes(options_, "roomy.upg");
  const CompressPlan plan = plan_compression(folder_ / "source", options_);
  options_.max_ram = plan.peak_ram_bytes - 1;
  const CompressPlan tight = plan_compression(folder_ / "source", options_);
  EXPECT_LT(tight.peak_ram_bytes, plan.peak_ram_bytes);
  EXPECT_GT(tight.disk_bytes, plan.disk_bytes);
  EXPECT_TRUE(bytes(options_, "tight.upg") == roomy);
  EXPECT_EQ(folder_.entries(),
            (std::vector<std::string>{"roomy.upg", "source", "text", "tight.upg"}));
}

TEST_F(CalibratedTest, TooLittleMemoryIsSaidBeforehand) {
  options_.max_ram = 1'000'000;
  try {
    compress(folder_ / "source", folder_ / "out.upg", options_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory) << error.what();
  }
  EXPECT_EQ(folder_.entries(), (std::vector<std::string>{"source", "text"}));
}

TEST_F(CalibratedTest, TheFileSaysHowItWasMade) {
  options_.tensor_codecs = {{"*.o_proj", "raw"}};
  const CompressResult result = compress(folder_ / "source", folder_ / "out.upg", options_);
  EXPECT_EQ(result.file_bytes, result.plan.output_bytes);  // the header had the room it was given
  const InspectReport report = inspect(folder_ / "out.upg");
  const base::JsonDocument document(report.compression, "compression");
  const base::Json& root = document.root();
  ASSERT_NE(root.find("source_xxh3"), nullptr);
  EXPECT_EQ(root.find("source_xxh3")->as_string("source_xxh3").size(), 16u);
  EXPECT_NEAR(root.find("relative_error")->as_number("error"), result.relative_error, 1e-12);
  const base::Json* calibration = root.find("calibration");
  ASSERT_NE(calibration, nullptr);
  EXPECT_EQ(calibration->find("text")->as_string("text"), "text");  // without its folder
  EXPECT_EQ(calibration->find("windows")->as_integer("windows", 0, 99), 5);
  EXPECT_EQ(calibration->find("window_tokens")->as_integer("window_tokens", 0, 999), 128);
  int calibrated = 0;
  for (const TensorReport& tensor : report.tensors) {
    if (tensor.codec == "f32") continue;
    EXPECT_EQ(tensor.relative_error > 0, tensor.codec != "raw") << tensor.name;
    EXPECT_LT(tensor.loss, 0.2) << tensor.name;
    calibrated += tensor.loss > 0 ? 1 : 0;
  }
  EXPECT_EQ(calibrated, 7);  // of two layers all but o_proj, and the head
}

TEST_F(CalibratedTest, TheChecksumTellsCheckpointsApart) {
  CompressOptions raw;
  raw.profile = "raw";
  const auto source_hash = [&](const char* name) {
    compress(folder_ / "source", folder_ / name, raw);
    const std::string text = inspect(folder_ / name).compression;
    return text.substr(text.find("source_xxh3"), 34);
  };
  const std::string before = source_hash("one.upg");
  checkpoint_.shards = 2;  // the same weights
  std::filesystem::remove_all(folder_ / "source");
  checkpoint_.write(folder_ / "source");
  EXPECT_EQ(source_hash("two.upg"), before);
  checkpoint_.edit = [](const model::TensorSpec& spec, std::vector<float>& values) {
    if (spec.name == "model.norm.weight") values[0] += 1;
    return true;
  };
  checkpoint_.write(folder_ / "source");
  EXPECT_NE(source_hash("three.upg"), before);
}

}  // namespace
}  // namespace upg::compression
