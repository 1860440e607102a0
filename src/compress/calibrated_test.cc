// Calibrated compression end to end on a small random checkpoint.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace upg::compression
