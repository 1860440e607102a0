// Version 2 files of other programs: five tensors a matrix, no names, no columns, no config.
#include <gtest/gtest.h>

#include <map>

#include "codec/primes.h"
#include "compress/compress_testing.h"
#include "format/checkpoint.h"
#include "format/safetensors.h"
#include "upg/compress.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using base::DType;

template <class T>
void append(format::SafetensorsWriter& writer, const std::string& name, DType dtype,
            const std::vector<T>& values) {
  const std::vector<int64_t> shape = {static_cast<int64_t>(values.size())};
  writer.append(name, dtype, shape, std::as_bytes(std::span(values)));
}

// The example of the specification: columns 0, 5, 12, 15 are stored 0, 5, 7, 3; a second row has
// column 300 behind a bridge, a third one nothing.
void write_foreign(const std::filesystem::path& path, uint8_t last_delta = 45) {
  format::SafetensorsWriter writer(path, 4096);
  append<int8_t>(writer, "layer_0_values", DType::kI8, {127, -127, 64, 1, 0, 100});
  append<uint8_t>(writer, "layer_0_delta_indices", DType::kU8, {0, 5, 7, 3, 255, last_delta});
  append<uint32_t>(writer, "layer_0_row_pointers", DType::kU32, {0, 4, 6, 6});
  append<uint16_t>(writer, "layer_0_prime_indices", DType::kU16, {9999, 0, 5000, 1, 0, 9999});
  append<float>(writer, "layer_0_scales", DType::kF32, {2.0f, 0.5f, 1.0f});
  const std::map<std::string, std::string, std::less<>> metadata = {
      {"version", "2.0"}, {"model", "other"}, {"compression_ratio", "2.0"}, {"num_layers", "1"}};
  writer.finish(writer.header(metadata));
}

std::vector<float> decompressed(const TempFolder& folder, int64_t cols, int64_t expected_cols) {
  std::filesystem::remove_all(folder / "dense");
  decompress(folder / "foreign.upg", folder / "dense", "", 0, {}, cols);
  const format::SafetensorsFile file(folder / "dense" / "model.safetensors");
  EXPECT_EQ(file.tensors().size(), 1u);
  const format::TensorEntry& tensor = file.tensors().front();
  EXPECT_EQ(tensor.view.dtype, DType::kF32);
  EXPECT_EQ(tensor.view.shape, (std::vector<int64_t>{3, expected_cols}));
  std::vector<float> values(static_cast<size_t>(3 * expected_cols));
  base::to_float(tensor.view, 0, static_cast<int64_t>(values.size()), values.data());
  return values;
}

TEST(ForeignFile, DecompressesToWhatTheSpecificationSays) {
  const TempFolder folder;
  write_foreign(folder / "foreign.upg");
  std::map<size_t, float> expected;  // weight = scale * (value / 127) * prime
  expected[0] = 2.0f * (127 / 127.0f) * codec::prime_value(9999);
  expected[5] = 2.0f * (-127 / 127.0f) * codec::prime_value(0);
  expected[12] = 2.0f * (64 / 127.0f) * codec::prime_value(5000);
  expected[15] = 2.0f * (1 / 127.0f) * codec::prime_value(1);
  expected[301 + 300] = 0.5f * (100 / 127.0f) * codec::prime_value(9999);
  const std::vector<float> values = decompressed(folder, 0, 301);
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(values[i], expected.contains(i) ? expected[i] : 0.0f) << i;
  }
  EXPECT_EQ(decompressed(folder, 320, 320)[320 + 300], values[301 + 300]);
  decompressed(folder, 10, 301);  // less than the indices need is no limit
}

TEST(ForeignFile, InspectsAndVerifies) {
  const TempFolder folder;
  write_foreign(folder / "foreign.upg");
  const InspectReport report = inspect(folder / "foreign.upg");
  EXPECT_EQ(report.version, "2.0");
  EXPECT_EQ(report.parameters, 3u * 301);
  ASSERT_EQ(report.tensors.size(), 1u);
  EXPECT_EQ(report.tensors[0].codec, "mdcsr");
  EXPECT_TRUE(verify(folder / "foreign.upg", "").ok);
}

TEST(ForeignFile, BadIndicesAreNamed) {
  const TempFolder folder;
  write_foreign(folder / "foreign.upg", 0);  // delta 0 within a row
  const VerifyReport report = verify(folder / "foreign.upg", "");
  ASSERT_FALSE(report.ok);
  EXPECT_NE(report.errors.front().find("delta_indices"), std::string::npos);
  EXPECT_THROW(decompress(folder / "foreign.upg", folder / "dense", ""), Error);
  EXPECT_EQ(folder.entries(), std::vector<std::string>{"foreign.upg"});
}

TEST(ForeignFile, ColumnsBeyondReasonAreRefused) {
  const TempFolder folder;
  write_foreign(folder / "foreign.upg");
  EXPECT_THROW(decompress(folder / "foreign.upg", folder / "dense", "", 0, {}, INT32_MAX), Error);
  EXPECT_EQ(folder.entries(), std::vector<std::string>{"foreign.upg"});
}

}  // namespace
}  // namespace upg::compression
