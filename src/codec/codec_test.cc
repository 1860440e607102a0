// What holds for every codec of the table.
#include "codec/codec.h"

#include <cmath>
#include <set>
#include <thread>

#include "codec/codec_testing.h"
#include "codec/owned_matrix.h"
#include "gtest/gtest.h"

namespace upg::codec {
namespace {

using testing::encode_parts;
using testing::gaussian;
using testing::relative_error;
using testing::Stored;

TEST(Registry, FindsEveryCodecByItsName) {
  std::set<std::string_view> names;
  for (const Codec& codec : all_codecs()) {
    EXPECT_EQ(find_codec(codec.name), &codec);
    names.insert(codec.name);
  }
  EXPECT_EQ(names.size(), all_codecs().size());
  EXPECT_EQ(codec_names(), "path2, path3, path4, int8, sparse, mdcsr, raw");
  EXPECT_EQ(find_codec("path5"), nullptr);
  EXPECT_EQ(find_codec(""), nullptr);
}

class EveryCodec : public ::testing::TestWithParam<Codec> {};

TEST_P(EveryCodec, StoresTheTensorsItAnnounces) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 129}, {33, 256}}) {
    const EncodeOptions options;
    const std::vector<PartSpec> specs = GetParam().parts(rows, cols, options);
    const std::vector<Part> parts =
        encode_parts(GetParam(), rows, cols, gaussian(rows * cols, 1), options);
    ASSERT_EQ(specs.size(), parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(parts[i].spec.suffix, specs[i].suffix);
      EXPECT_EQ(parts[i].spec.dtype, specs[i].dtype);
      EXPECT_EQ(parts[i].spec.shape, specs[i].shape) << GetParam().name << specs[i].suffix;
      size_t bytes = base::size_of(parts[i].spec.dtype);
      for (const int64_t n : parts[i].spec.shape) bytes *= static_cast<size_t>(n);
      EXPECT_EQ(parts[i].bytes.size(), bytes);
    }
  }
}

TEST_P(EveryCodec, ComesBackNearTheOriginal) {
  const int64_t rows = 50, cols = 333;
  const std::vector<float> w = gaussian(rows * cols, 2);
  const OwnedMatrix matrix = encode_matrix(GetParam(), rows, cols, w.data());
  std::vector<float> decoded(w.size());
  decode_rows(matrix.view(), 0, rows, decoded.data());
  EXPECT_LT(relative_error(w, decoded), 0.12);  // half of the weights hold 0.93 of the energy
}

TEST_P(EveryCodec, AnyRangeOfRowsDecodesTheSame) {
  const int64_t rows = 21, cols = 150;
  const std::vector<float> w = gaussian(rows * cols, 3);
  const OwnedMatrix matrix = encode_matrix(GetParam(), rows, cols, w.data());
  std::vector<float> whole(w.size());
  decode_rows(matrix.view(), 0, rows, whole.data());
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 0}, {20, 1}, {3, 7}}) {
    std::vector<float> part(static_cast<size_t>(count * cols));
    decode_rows(matrix.view(), first, count, part.data());
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + first * cols));
  }
}

TEST_P(EveryCodec, ThreadsMayShareTheEncoder) {
  const int64_t rows = 160, cols = 140;
  const std::vector<float> w = gaussian(rows * cols, 4);
  const std::vector<Part> want = encode_parts(GetParam(), rows, cols, w);
  const auto encoder = GetParam().encoder(rows, cols, cols, {});
  encoder->train(w.data(), rows);
  std::vector<std::thread> threads;
  for (int64_t first = 0; first < rows; first += 32) {
    threads.emplace_back([&, first] { encoder->encode(first, 32, w.data() + first * cols); });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<Part> got = encoder->finish();
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(want[i].bytes, got[i].bytes) << i;
}

TEST_P(EveryCodec, ZerosStayZeros) {
  const int64_t rows = 9, cols = 130;
  const std::vector<float> w(static_cast<size_t>(rows * cols));
  Stored stored(GetParam(), rows, cols, encode_parts(GetParam(), rows, cols, w));
  EXPECT_EQ(stored.decode(), w);
}

INSTANTIATE_TEST_SUITE_P(Table, EveryCodec, ::testing::ValuesIn(all_codecs()),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace upg::codec
