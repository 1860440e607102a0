// Files that break the safetensors format, each with the word its message must carry. The rows are
// named as in the catalogue of docs/format.md.
#include <sys/resource.h>

#include <chrono>
#include <functional>

#include "base/text.h"
#include "format/safetensors.h"
#include "format/test_support.h"

namespace upg::format {
namespace {

using testing::HasSubstr;

constexpr std::string_view kTwo =
    R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})";

std::string repeat(std::string_view text, size_t count) {
  std::string out;
  out.reserve(text.size() * count);
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

std::string with_length(uint64_t length, std::string_view rest) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file.append(rest);
}

// One tensor "w" with these fields, over four bytes of data.
std::string entry(std::string_view fields) {
  return container(join("{\"w\":{", fields, "}}"), "1234");
}
std::string shape(std::string_view text) {
  return entry(join(R"("dtype":"U8","data_offsets":[0,4],"shape":)", text));
}
std::string offsets(std::string_view text) {
  return entry(join(R"("dtype":"U8","shape":[4],"data_offsets":)", text));
}
std::string metadata(std::string_view text) {
  return container(join("{\"__metadata__\":", text, "}"));
}

struct Case {
  const char* name;
  const char* word;
  std::function<std::string()> file;
};

class Malformed : public testing::TestWithParam<Case> {};

TEST_P(Malformed, IsRefusedByItsWord) {
  const std::string file = GetParam().file();
  const auto start = std::chrono::steady_clock::now();
  const std::string message =
      error_of([&] { parse_safetensors(as_bytes(file), "model.safetensors"); });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_THAT(message, has_word(GetParam().word));
  EXPECT_THAT(message, testing::StartsWith("model.safetensors: "));
  // 50 ms + 30 ns a byte; five times that for sanitizers and busy machines.
  EXPECT_LT(took.count(), 5 * (0.05 + 30e-9 * static_cast<double>(file.size())));
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, Malformed,
    testing::Values(
        Case{"ST01_empty", "SIZE", [] { return std::string(); }},
        Case{"ST01_seven_bytes", "SIZE", [] { return std::string(7, '\0'); }},
        Case{"ST01_length_zero", "HDRLEN", [] { return with_length(0, ""); }},
        Case{"ST02_length_one", "HDRLEN", [] { return with_length(1, "{}"); }},
        Case{"ST02_length_past_the_end", "HDRLEN", [] { return with_length(3, "{}"); }},
        Case{"ST03_above_the_limit", "LIMIT", [] { return with_length(100'000'001, "{}"); }},
        Case{"ST03_at_the_limit", "HDRLEN", [] { return with_length(100'000'000, "{}"); }},
        Case{"ST04_length_all_ones", "LIMIT", [] { return with_length(~uint64_t{0}, "{}"); }}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Json, Malformed,
    testing::Values(
        Case{"ST05_leading_space", "JSON", [] { return container(" {}"); }},
        Case{"ST06_byte_order_mark", "JSON", [] { return container("\xef\xbb\xbf{}"); }},
        Case{"ST07_tabs_behind", "JSON", [] { return container("{}\t\t"); }},
        Case{"ST07_newlines_behind", "JSON", [] { return container("{}\n"); }},
        Case{"ST07_nuls_behind", "JSON", [] { return container(std::string("{}\0\0", 4)); }},
        Case{"ST08_second_object", "JSON", [] { return container("{}{}"); }},
        Case{"ST08_an_array", "JSON", [] { return container("[]"); }},
        Case{"ST08_trailing_comma", "JSON", [] { return metadata(R"({"a":"b",})"); }},
        Case{"ST08_single_quotes", "JSON", [] { return metadata("{'a':'b'}"); }},
        Case{"ST08_no_colon", "JSON", [] { return metadata(R"({"a" "b"})"); }},
        Case{"ST08_cut_in_a_string", "JSON", [] { return container("{\"abc"); }},
        Case{"ST09_stray_byte", "UTF8", [] { return metadata("{\"\xff\":\"\"}"); }},
        Case{"ST09_overlong", "UTF8", [] { return metadata("{\"\xc0\xaf\":\"\"}"); }},
        Case{"ST09_encoded_surrogate", "UTF8", [] { return metadata("{\"\xed\xa0\x80\":\"\"}"); }},
        Case{"ST09_high_surrogate", "JSON", [] { return metadata(R"({"\ud800":""})"); }},
        Case{"ST09_low_surrogate", "JSON", [] { return metadata(R"({"\udc00":""})"); }},
        Case{"ST09_two_high_surrogates", "JSON", [] { return metadata(R"({"\ud800\ud800":""})"); }},
        Case{"ST10_unknown_escape", "JSON", [] { return metadata(R"({"\x41":""})"); }},
        Case{"ST10_short_escape", "JSON", [] { return metadata(R"({"\u12":""})"); }},
        Case{"ST10_raw_control", "JSON", [] { return metadata("{\"a\nb\":\"\"}"); }}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Fields, Malformed,
    testing::Values(
        Case{"ST11_duplicate_same_span", "DUP",
             [] {
               return container(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                R"("w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                                "1234");
             }},
        Case{"ST13_duplicate_other_span", "DUP",
             [] {
               return container(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                R"("w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                                "12345678");
             }},
        Case{"ST14_duplicate_field", "DUP",
             [] { return entry(R"("dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4])"); }},
        Case{"ST14_unknown_field", "FIELD",
             [] { return entry(R"("dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1)"); }},
        Case{"ST15_null", "FIELD", [] { return metadata("null"); }},
        Case{"ST15_number_value", "FIELD", [] { return metadata(R"({"a":1})"); }},
        Case{"ST15_nested_object", "FIELD", [] { return metadata(R"({"a":{}})"); }},
        Case{"ST15_array", "FIELD", [] { return metadata("[]"); }},
        Case{"ST15_tensor_entry", "FIELD",
             [] { return metadata(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})"); }},
        Case{"ST15_escaped_key_is_the_key", "DUP",
             [] { return container(R"({"__metadata__":{},"\u005f_metadata__":{}})"); }},
        Case{"ST16_duplicate_metadata_key", "DUP", [] { return metadata(R"({"a":"","a":""})"); }},
        Case{"ST17_no_dtype", "FIELD", [] { return entry(R"("shape":[4],"data_offsets":[0,4])"); }},
        Case{"ST17_no_shape", "FIELD",
             [] { return entry(R"("dtype":"U8","data_offsets":[0,4])"); }},
        Case{"ST17_no_offsets", "FIELD", [] { return entry(R"("dtype":"U8","shape":[4])"); }},
        Case{"ST17_dtype_number", "FIELD",
             [] { return entry(R"("dtype":8,"shape":[4],"data_offsets":[0,4])"); }},
        Case{"ST17_shape_number", "FIELD", [] { return shape("4"); }},
        Case{"ST17_entry_is_a_string", "FIELD", [] { return container(R"({"w":"U8"})"); }},
        Case{"ST18_unknown_dtype", "DTYPE",
             [] { return entry(R"("dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4])"); }},
        Case{"ST18_lower_case_dtype", "DTYPE",
             [] { return entry(R"("dtype":"u8","shape":[4],"data_offsets":[0,4])"); }},
        Case{"ST35_none", "FIELD", [] { return offsets("[]"); }},
        Case{"ST35_one", "FIELD", [] { return offsets("[4]"); }},
        Case{"ST35_three", "FIELD", [] { return offsets("[0,4,4]"); }},
        Case{"ST35_object", "FIELD", [] { return offsets("{}"); }},
        Case{"ST35_strings", "FIELD", [] { return offsets(R"(["0","4"])"); }},
        Case{"ST35_floats", "FIELD", [] { return offsets("[0.0,4.0]"); }}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Shapes, Malformed,
    testing::Values(
        Case{"ST19_negative", "SHAPE", [] { return shape("[-2]"); }},
        Case{"ST19_float", "SHAPE", [] { return shape("[4.0]"); }},
        Case{"ST19_exponent", "SHAPE", [] { return shape("[4e0]"); }},
        Case{"ST19_leading_zero", "JSON", [] { return shape("[04]"); }},
        Case{"ST19_two_to_64", "SHAPE", [] { return shape("[18446744073709551616]"); }},
        Case{"ST19_million_digits", "SHAPE",
             [] { return shape(join("[", std::string(1'000'000, '9'), "]")); }},
        Case{"ST19_true", "SHAPE", [] { return shape("[true]"); }},
        Case{"ST19_string", "SHAPE", [] { return shape(R"(["4"])"); }},
        Case{"ST20_too_few_bytes", "MISMATCH", [] { return shape("[5]"); }},
        Case{"ST20_too_many_bytes", "MISMATCH", [] { return shape("[3]"); }},
        Case{"ST21_bytes_wrap", "OVERFLOW",
             [] {
               return entry(R"("dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0])");
             }},
        Case{"ST21_count_wraps", "OVERFLOW", [] { return shape("[4611686018427387904,4]"); }},
        Case{"ST21_count_wraps_behind_zero", "OVERFLOW",
             [] { return shape("[0,4611686018427387904,4]"); }},
        Case{"ST21_bits_wrap", "OVERFLOW",
             [] {
               return entry(R"("dtype":"F32","shape":[576460752303423488],"data_offsets":[0,4])");
             }},
        Case{"ST21_32_bits_wrap", "MISMATCH", [] { return shape("[65536,65536]"); }},
        Case{"ST23_rank_nine", "LIMIT", [] { return shape("[1,1,1,1,1,1,1,1,4]"); }},
        Case{"ST23_rank_100000", "LIMIT",
             [] { return shape(join("[", repeat("1,", 99'999), "4]")); }},
        Case{"ST37_nested_arrays", "LIMIT",
             [] { return shape(join(std::string(100'000, '['), std::string(100'000, ']'))); }},
        Case{"ST37_nested_in_a_dimension", "LIMIT",
             [] {
               return shape(join("[", std::string(100'000, '['), std::string(100'000, ']'), "]"));
             }},
        Case{"ST37_nested_metadata", "LIMIT",
             [] {
               return metadata(
                   join("{\"a\":", repeat("{\"a\":", 5'000), "1", std::string(5'000, '}'), "}"));
             }},
        Case{"ST39_large_value", "LIMIT",
             [] { return metadata(join("{\"a\":\"", std::string(10'000'000, 'x'), "\"}")); }},
        Case{"ST39_many_keys", "LIMIT",
             [] {
               std::string keys = "{";
               for (int i = 0; i < 100'000; ++i) keys += join("\"", std::to_string(i), "\":\"\",");
               keys.back() = '}';
               return metadata(keys);
             }},
        Case{"ST40_long_name", "LIMIT",
             [] { return container(join("{\"", std::string(100'000, 'n'), "\":{}}")); }}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Spans, Malformed,
    testing::Values(
        Case{"ST26_inside_another", "OFFSET",
             [] {
               return container(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                R"("b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                                "1234");
             }},
        Case{"ST28_overlap", "OFFSET",
             [] {
               return container(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                                R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                                "1234");
             }},
        Case{"ST28_descending", "OFFSET", [] { return offsets("[4,0]"); }},
        Case{"ST28_past_the_end", "OFFSET",
             [] { return entry(R"("dtype":"U8","shape":[5],"data_offsets":[0,5])"); }},
        Case{
            "ST28_far_past_the_end", "OFFSET",
            [] {
              return entry(
                  R"("dtype":"U8","shape":[4],"data_offsets":[9223372036854775803,9223372036854775807])");
            }},
        Case{"ST29_hole", "COVER",
             [] {
               return container(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                R"("b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})",
                                "1234");
             }},
        Case{"ST29_not_at_zero", "COVER",
             [] { return entry(R"("dtype":"U8","shape":[3],"data_offsets":[1,4])"); }},
        Case{"ST31_one_byte_behind", "COVER", [] { return container(kTwo, "123412345678x"); }},
        Case{"ST31_zip_end_record", "COVER",
             [] { return container(kTwo, join("123412345678PK\x05\x06", std::string(18, '\0'))); }},
        Case{"ST31_data_without_tensors", "COVER", [] { return container("{}", "1"); }}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Kinds, Malformed,
    testing::Values(
        Case{"ST47_lfs_pointer", "KIND",
             [] {
               return std::string(
                   "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4903\n");
             }},
        Case{"ST47_html", "KIND",
             [] { return std::string("\n<!DOCTYPE html><html><body>404</body></html>"); }},
        Case{"ST47_gzip", "KIND",
             [] { return std::string("\x1f\x8b\x08\0\0\0\0\0\0\3", 10) + std::string(99, 'x'); }},
        Case{"ST47_gguf", "KIND",
             [] { return std::string("GGUF\3\0\0\0", 8) + std::string(99, '\0'); }},
        Case{"ST47_pickle_zip", "KIND",
             [] { return std::string("PK\3\4\0\0\10\10", 8) + std::string(99, '\0'); }},
        Case{"ST47_pickle", "KIND", [] { return join("\x80\x02}q", std::string(99, '\1')); }},
        Case{"ST47_json", "KIND", [] { return std::string("{\"error\":\"not found\"}"); }}),
    [](const auto& row) { return row.param.name; });

TEST(MalformedTruncation, EveryByteOfTheHeaderAndEveryBoundary) {
  const std::string whole = container(kTwo, "123412345678");
  ASSERT_NO_THROW(parse_safetensors(as_bytes(whole), "f"));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string message =
        error_of([&] { parse_safetensors(as_bytes(whole).first(size), "f"); });
    const char* word = size < 8 ? "(SIZE)" : size < 8 + kTwo.size() ? "(HDRLEN)" : "(OFFSET)";
    EXPECT_THAT(message, HasSubstr(word)) << size;
  }
}

// The header's text cut inside, its length made to fit: never accepted, whatever follows.
TEST(MalformedTruncation, CutJsonIsJsonError) {
  for (size_t size = 1; size < kTwo.size(); ++size) {
    const std::string file = container(std::string(kTwo.substr(0, size)) + "  ", "123412345678");
    EXPECT_THAT(error_of([&] { parse_safetensors(as_bytes(file), "f"); }),
                testing::AnyOf(has_word("JSON"), has_word("FIELD"), has_word("SHAPE"),
                               has_word("DTYPE"), has_word("MISMATCH"), has_word("OFFSET")))
        << size;
  }
}

TEST(MalformedMutation, EveryByteOfTheHeaderReplaced) {
  const std::string whole = container(kTwo, "123412345678");
  for (size_t at = 0; at < 8 + kTwo.size(); ++at) {
    for (const char c : {'\0', ' ', '"', '{', ']', '9', '\\', '\x80', '\xff'}) {
      std::string file = whole;
      file[at] = c;
      try {
        parse_safetensors(as_bytes(file), "f");  // a name may change its letters
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInvalidData);
      }
    }
  }
}

TEST(MalformedMessage, NamesPlaceFoundAndAllowed) {
  const std::string file = container(
      R"({"model.layers.5.mlp.down_proj.weight":{"dtype":"U8","shape":[4096],"data_offsets":[4096,8192]}})",
      std::string(6144, '\0'));
  EXPECT_EQ(
      error_of([&] { parse_safetensors(as_bytes(file), "model-00003-of-00007.safetensors"); }),
      "model-00003-of-00007.safetensors: tensor \"model.layers.5.mlp.down_proj.weight\": "
      "data_offsets [4096,8192): allowed are ascending offsets within the data section (6144 "
      "bytes), at byte 9 (OFFSET)");
}

TEST(MalformedMessage, NamesCannotForgeLines) {
  const std::string name = join("\\u001b[31m\\nok", std::string(500, 'x'));
  const std::string file = container(join("{\"", name, "\":{\"dtype\":\"U8\"}}"));
  const std::string message = error_of([&] { parse_safetensors(as_bytes(file), "a\nb"); });
  EXPECT_THAT(message, testing::StartsWith("a\\x0ab: tensor \"\\x1b[31m\\x0aokxxx"));
}

TEST(MalformedLimits, MoreThanAMillionTensors) {
  std::string header = "{";
  for (size_t i = 0; i <= kMaxTensors; ++i) {
    header +=
        join("\"", std::to_string(i), R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)");
  }
  header.back() = '}';
  const std::string file = container(header);
  EXPECT_THAT(error_of([&] { parse_safetensors(as_bytes(file), "f"); }), has_word("LIMIT"));
}

TEST(MalformedLimits, ManyEmptyTensorsBesideARealOne) {
  std::string header = R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  for (int i = 0; i < 1000; ++i) {
    header +=
        join(",\"", std::to_string(i), R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})");
  }
  const std::string file = container(header + "}", "1234");
  EXPECT_EQ(parse_safetensors(as_bytes(file), "f").tensors.size(), 1001u);
}

TEST(MalformedLimits, RankOfMillionsTakesNoMemory) {
  const std::string file = shape(join("[", repeat("1,", 20'000'000), "4]"));
  rusage before = {};
  rusage after = {};
  getrusage(RUSAGE_SELF, &before);
  EXPECT_THAT(error_of([&] { parse_safetensors(as_bytes(file), "f"); }), has_word("LIMIT"));
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 << 10);  // kilobytes
}

TEST(MalformedLimits, MetadataLimitIsTheCallers) {
  const std::string file = metadata(join("{\"a\":\"", std::string(2 << 20, 'x'), "\"}"));
  EXPECT_THAT(error_of([&] { parse_safetensors(as_bytes(file), "f"); }), has_word("LIMIT"));
  EXPECT_EQ(parse_safetensors(as_bytes(file), "f", {size_t{4} << 20}).metadata.at("a").size(),
            size_t{2} << 20);
}

TEST(MalformedControls, OddButRightFilesAreRead) {
  EXPECT_TRUE(parse_safetensors(as_bytes(container("{}")), "f").tensors.empty());
  EXPECT_TRUE(parse_safetensors(as_bytes(container("{}      ")), "f").tensors.empty());
  const std::string scalar =
      container(R"({ "s" : {"data_offsets":[0,4],"shape":[ ],"dtype":"F32"} })", "1234");
  EXPECT_EQ(parse_safetensors(as_bytes(scalar), "f").tensors[0].view.elements(), 1);
  const std::string names = container(
      R"({"A":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u00e9":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"e\u0301":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\ud83d\ude00":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})");
  const ParsedSafetensors parsed = parse_safetensors(as_bytes(names), "f");
  EXPECT_EQ(parsed.tensors.size(), 5u);  // IX-15: names are bytes
  EXPECT_THAT(parsed.tensors[4].name, "\xf0\x9f\x98\x80");
}

}  // namespace
}  // namespace upg::format
