// Everything that bind() must reject, one damage a test: none of it may reach a kernel.
#include <cmath>
#include <functional>
#include <limits>

#include "codec/bind_check.h"
#include "codec/codec_testing.h"
#include "codec/path_layout.h"
#include "codec/primes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "upg/error.h"

namespace upg::codec {
namespace {

using base::DType;
using testing::encode_parts;
using testing::gaussian;
using ::testing::HasSubstr;
using testing::Stored;

constexpr int64_t kRows = 37, kCols = 300;

struct Damage {
  std::string name;  // of the test
  std::string codec;
  std::function<void(Stored&)> apply;
  std::string message;  // what the error must say: the tensor, what was found, or what is allowed
};

class Bind : public ::testing::TestWithParam<Damage> {};

TEST_P(Bind, Rejects) {
  const Codec& codec = *find_codec(GetParam().codec);
  Stored stored(codec, kRows, kCols, encode_parts(codec, kRows, kCols, gaussian(kRows * kCols, 1)));
  ASSERT_NO_THROW(stored.bind());
  GetParam().apply(stored);
  try {
    stored.bind();
    FAIL() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidData);
    EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
    EXPECT_THAT(error.what(), HasSubstr("allowed"));
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    EXPECT_LT(std::string(error.what()).size(), 1024u);
  }
}

template <class T>
std::function<void(Stored&)> put(const std::string& suffix, int64_t index, T value) {
  return [=](Stored& s) { s[suffix].data<T>()[index] = value; };
}

// What every codec must reject for each of its tensors.
std::vector<Damage> common_damage() {
  std::vector<Damage> list;
  for (const Codec& codec : all_codecs()) {
    const std::string name(codec.name);
    auto add = [&](const std::string& what, std::function<void(Stored&)> apply,
                   const std::string& message) {
      list.push_back({std::string(name).append("_").append(what), name, std::move(apply), message});
    };
    add(
        "no_rows", [](Stored& s) { s.matrix().rows = 0; }, "w: found 0 rows");
    add(
        "negative_columns", [](Stored& s) { s.matrix().cols = -5; }, "w: found");
    add(
        "huge_rows", [](Stored& s) { s.matrix().rows = int64_t{1} << 62; }, "w: found");
    add(
        "more_rows_than_stored", [](Stored& s) { s.matrix().rows = 1 << 20; }, "[");
    if (!codec.rotates) {
      add(
          "rotation", [](Stored& s) { s.matrix().signs = reinterpret_cast<const uint8_t*>(""); },
          "rotation");
    }
    for (const PartSpec& spec : codec.parts(kRows, kCols, {})) {
      const std::string suffix = spec.suffix;
      const std::string full = suffix.empty() ? "w: found" : "w." + suffix + ": found";
      const std::string label = suffix.empty() ? "own" : suffix;
      add(
          label + "_missing", [=](Stored& s) { s.remove(suffix); }, full + " no such tensor");
      add(
          label + "_of_another_type", [=](Stored& s) { s[suffix].view.dtype = DType::kI64; },
          full + " type I64");
      add(
          label + "_of_another_shape", [=](Stored& s) { s[suffix].view.shape.back() += 1; }, full);
      add(
          label + "_of_another_rank", [=](Stored& s) { s[suffix].view.shape.push_back(1); },
          full + " shape");
      add(
          label + "_negative_size", [=](Stored& s) { s[suffix].view.shape[0] = -1; }, full);
      add(
          label + "_short_of_bytes",
          [=](Stored& s) {
            auto& bytes = s[suffix].view.bytes;
            bytes = bytes.first(bytes.size() - 1);
          },
          full);
      if (base::size_of(spec.dtype) > 1 || suffix == "codes") {
        add(
            label + "_misaligned", [=](Stored& s) { s.shift(suffix, 1); },
            full + " data at a misaligned address");
      }
    }
  }
  return list;
}

std::vector<Damage> scale_damage() {
  std::vector<Damage> list;
  for (const char* codec : {"path2", "path3", "path4", "int8", "sparse", "mdcsr"}) {
    const std::string suffix = std::string(codec) == "mdcsr" ? "scales" : "scale";
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    list.push_back({std::string(codec) + "_scale_nan", codec, put(suffix, 3, nan), "in row 3"});
    list.push_back({std::string(codec) + "_scale_infinite", codec,
                    put(suffix, kRows - 1, -infinity), "in row 36"});
  }
  return list;
}

std::vector<Damage> palette_damage() {
  std::vector<Damage> list;
  for (const char* name : {"path2", "path3", "path4", "sparse"}) {
    const std::string codec = name;
    list.push_back(
        {codec + "_palette_index", codec, put<uint16_t>("palette", 1, 10000), "entry 1 = 0x2710"});
    list.push_back(
        {codec + "_palette_index_signed", codec, put<uint16_t>("palette", 7, 0xbfff), "entry 7"});
    list.push_back(
        {codec + "_palette_bit_14", codec, put<uint16_t>("palette", 2, 0x4001), "bit 14 zero"});
  }
  auto sums = [](int sign) {
    return [=](Stored& s) {
      const int64_t states = s["palette"].view.shape[1];
      s["palette"].data<uint16_t>()[0] = entry_of(sign * 40);
      s["palette"].data<uint16_t>()[states] = entry_of(sign * 24);
    };
  };
  for (const char* name : {"path2", "path3", "path4"}) {
    const std::string codec = name;
    list.push_back({codec + "_palette_sum_high", codec, sums(1), "sums of"});
    list.push_back({codec + "_palette_sum_low", codec, sums(-1), "sums of"});
  }
  list.push_back({"sparse_palette_entry_0", "sparse", put("palette", 0, entry_of(1)), "level 0"});
  list.push_back({"sparse_palette_second", "sparse", put("palette", 20, entry_of(1)), "level 0"});
  return list;
}

std::vector<Damage> code_damage() {
  std::vector<Damage> list;
  for (const auto& [codec, vectors] :
       {std::pair<const char*, int64_t>{"path2", 2}, {"path3", 3}, {"path4", 4}, {"int8", 8}}) {
    for (const int64_t row : {kRows, int64_t{39}, int64_t{63}}) {
      const int64_t at = row_offset(row, 3, vectors) + (3 * vectors - 1) * kVectorStride + 5;
      list.push_back({std::string(codec) + "_padding_row_" + std::to_string(row), codec,
                      put<uint8_t>("codes", at, 1), "padding row " + std::to_string(row)});
    }
  }
  list.push_back({"int8_lowest", "int8", put<int8_t>("codes", 0, -128), "-128"});
  return list;
}

constexpr int64_t kMaskBlock = 16;  // bytes
constexpr int64_t kMaskRow = 3 * kMaskBlock;

std::vector<Damage> sparse_damage() {
  return {
      {"sparse_offset_first", "sparse", put<uint32_t>("offsets", 0, 1), "row group 0"},
      {"sparse_offset_decreases", "sparse", put<uint32_t>("offsets", 3, 0), "row group 3"},
      {"sparse_offset_too_large", "sparse", put<uint32_t>("offsets", 2, 0xffffffff), "row group 2"},
      {"sparse_offset_last", "sparse", put<uint32_t>("offsets", 16, 1), "row group 16"},
      {"sparse_mask_bits_more", "sparse", [](Stored& s) { std::memset(s["mask"].bytes, 0xff, 32); },
       "row group"},
      {"sparse_mask_padding_row", "sparse", put<uint8_t>("mask", kRows * kMaskRow, 1),
       "padding row 37"},
      {"sparse_mask_column_beyond", "sparse",
       put<uint8_t>("mask", 2 * kMaskRow + 2 * kMaskBlock + 5, 0x10),
       "beyond the last column in row 2"},
      {"sparse_mask_column_far_beyond", "sparse",
       put<uint8_t>("mask", 36 * kMaskRow + 2 * kMaskBlock + 15, 0x80),
       "beyond the last column in row 36"},
      {"sparse_codes_short", "sparse", [](Stored& s) { s.resize("codes", 64); }, "w.codes: found"},
      {"sparse_codes_long", "sparse",
       [](Stored& s) { s.resize("codes", s["codes"].view.shape[0] + 64); }, "w.codes: found"},
      {"sparse_codes_empty", "sparse", [](Stored& s) { s.resize("codes", 0); }, "w.codes: found"},
      {"sparse_codes_tail", "sparse",
       [](Stored& s) { s["codes"].data<uint8_t>()[s["codes"].view.shape[0] - 1] = 1; },
       "bytes after the last code"},
      {"sparse_all_masks_empty", "sparse",
       [](Stored& s) { std::memset(s["mask"].bytes, 0, s["mask"].view.bytes.size()); },
       "w.offsets: found"},
  };
}

std::vector<Damage> mdcsr_damage() {
  const auto resize_entries = [](Stored& s, int64_t by) {
    const int64_t entries = s["values"].view.shape[0] + by;
    for (const char* suffix : {"values", "delta_indices", "prime_indices"}) {
      s.resize(suffix, entries);
    }
  };
  return {
      {"mdcsr_pointer_first", "mdcsr", put<uint32_t>("row_pointers", 0, 1), "1 first"},
      {"mdcsr_pointer_decreases", "mdcsr", put<uint32_t>("row_pointers", 5, 3), "in row 4"},
      {"mdcsr_pointer_huge", "mdcsr", put<uint32_t>("row_pointers", 9, 0xffffffff), "in row 9"},
      {"mdcsr_pointer_last", "mdcsr", put<uint32_t>("row_pointers", kRows, 0xffffffff), "last"},
      {"mdcsr_one_entry_more", "mdcsr", [=](Stored& s) { resize_entries(s, 1); }, "last"},
      {"mdcsr_one_entry_less", "mdcsr", [=](Stored& s) { resize_entries(s, -1); }, "last"},
      {"mdcsr_no_entries", "mdcsr",
       [=](Stored& s) { resize_entries(s, -s["values"].view.shape[0]); }, "last"},
      {"mdcsr_delta_zero", "mdcsr", put<uint8_t>("delta_indices", 1, 0), "0 within row 0"},
      {"mdcsr_delta_beyond_first", "mdcsr",
       [](Stored& s) {
         auto* deltas = s["delta_indices"].data<uint8_t>();
         deltas[0] = deltas[1] = 255;
       },
       "in row 0"},
      {"mdcsr_delta_beyond_last", "mdcsr",
       [](Stored& s) {
         auto* deltas = s["delta_indices"].data<uint8_t>();
         deltas[s["values"].view.shape[0] - 1] = 255;
       },
       "in row 36"},
      {"mdcsr_prime_index", "mdcsr", put<uint16_t>("prime_indices", 77, 10000), "found 10000"},
      {"mdcsr_prime_index_last", "mdcsr",
       [](Stored& s) {
         s["prime_indices"].data<uint16_t>()[s["values"].view.shape[0] - 1] = 0xffff;
       },
       "found 65535"},
  };
}

std::vector<Damage> all_damage() {
  std::vector<Damage> list;
  for (auto* part :
       {common_damage, scale_damage, palette_damage, code_damage, sparse_damage, mdcsr_damage}) {
    for (Damage& damage : part()) list.push_back(std::move(damage));
  }
  return list;
}

INSTANTIATE_TEST_SUITE_P(Damage, Bind, ::testing::ValuesIn(all_damage()),
                         [](const auto& row) { return row.param.name; });

TEST(BindSparse, ACodeAfterAnOddCount) {
  const std::vector<float> w = {1, 2, 3};
  EncodeOptions options;
  options.sparsity = 0;
  Stored stored(kSparseCodec, 1, 3, encode_parts(kSparseCodec, 1, 3, w, options));
  ASSERT_NO_THROW(stored.bind());
  stored["codes"].data<uint8_t>()[1] |= 0x10;
  EXPECT_THROW(stored.bind(), Error);
}

TEST(BindMdcsr, EmptyRowsAndAFirstDeltaOfZero) {
  const std::vector<float> w = {0, 0, 0, 5, 0, 0, 0, 0, 0};
  Stored stored(kMdcsrCodec, 3, 3, encode_parts(kMdcsrCodec, 3, 3, w));
  EXPECT_EQ(stored["values"].view.shape[0], 1);
  EXPECT_EQ(stored["delta_indices"].data<uint8_t>()[0], 0);
  EXPECT_EQ(stored.decode(), w);
}

TEST(BindSparse, ADensityBombIsNotExpanded) {
  // A few bytes that claim 2^20 x 2^20: the masks would have to be there.
  Stored stored(kSparseCodec, 1, 1, encode_parts(kSparseCodec, 1, 1, {1.0f}));
  stored.matrix().rows = stored.matrix().cols = 1 << 20;
  EXPECT_THROW(stored.bind(), Error);
}

TEST(Bind, NamesCannotForgeLines) {
  Stored stored(kInt8Codec, 1, 1, encode_parts(kInt8Codec, 1, 1, {1.0f}));
  stored.matrix().name = "evil\nname\x1b[31m";
  stored.remove("scale");
  try {
    stored.bind();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find_first_of("\n\x1b"), std::string::npos);
  }
}

}  // namespace
}  // namespace upg::codec
