#include "base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace upg::base {
namespace {

TEST(TextTest, Utf8IsJudgedAsTheStandardSays) {
  for (const char* good :
       {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(valid_utf8_prefix(good), std::string_view(good).size());
  }
  for (const char* bad :
       {"\x80", "\xbf", "\xc0\xaf", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf", "\xe0\xa0",
        "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xf0\x90\x80", "\xff", "\xfe"}) {
    EXPECT_EQ(valid_utf8_prefix(bad), 0u);
    EXPECT_EQ(valid_utf8_prefix(std::string("ab") + bad), 2u);
  }
}

TEST(TextTest, EveryCodePointIsWrittenValid) {
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    std::string text;
    append_utf8(text, c);
    const bool surrogate = c >= 0xd800 && c <= 0xdfff;
    ASSERT_EQ(valid_utf8_prefix(text) == text.size(), !surrogate) << static_cast<uint32_t>(c);
  }
}

TEST(TextTest, PrintableEscapesWhatCouldSteer) {
  EXPECT_EQ(printable("plain \xc3\xa9"), "plain \xc3\xa9");
  EXPECT_EQ(printable("a\nb\x1b[0m\x7f"), "a\\x0ab\\x1b[0m\\x7f");
  EXPECT_EQ(printable("\xff\xc2\x9b"), "\\xff\\xc2\\x9b");  // the second is a C1 control
  EXPECT_EQ(printable(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_LE(printable(std::string(10'000, 'x')).size(), 210u);
  EXPECT_LE(printable(std::string(10'000, '\1')).size(), 210u);
}

// The plain recursion that the loop stands for.
bool matches(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') {
    return matches(pattern.substr(1), text) || (!text.empty() && matches(pattern, text.substr(1)));
  }
  return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) &&
         matches(pattern.substr(1), text.substr(1));
}

std::string word(int number, int letters, std::string_view alphabet) {
  std::string out;
  for (int i = 0; i < letters; ++i) {
    out.push_back(alphabet[static_cast<size_t>(number) % alphabet.size()]);
    number /= static_cast<int>(alphabet.size());
  }
  return out;
}

TEST(TextTest, GlobsEqualTheRecursion) {
  for (int p = 0; p < 1024; ++p) {
    for (int length = 0; length <= 5; ++length) {
      const std::string pattern = word(p, 5, "ab*?");
      for (int t = 0; t < 1 << length; ++t) {
        const std::string text = word(t, length, "ab");
        ASSERT_EQ(matches_glob(pattern, text), matches(pattern, text)) << pattern << " " << text;
      }
    }
  }
  EXPECT_TRUE(
      matches_glob("model.layers.*.down_proj.weight", "model.layers.12.mlp.down_proj.weight"));
  EXPECT_FALSE(matches_glob(std::string(1000, '*') + "b", std::string(100'000, 'a')));
}

TEST(TextTest, BytesAndDurations) {
  EXPECT_EQ(format_bytes(0), "0 bytes");
  EXPECT_EQ(format_bytes(999), "999 bytes");
  EXPECT_EQ(format_bytes(1000), "1.00 kB");
  EXPECT_EQ(format_bytes(5'860'000'000), "5.86 GB");
  EXPECT_EQ(format_bytes(58'600'000'000), "58.6 GB");
  EXPECT_EQ(format_bytes(999'900), "1.00 MB");
  EXPECT_EQ(format_duration(12.34), "12.3 s");
  EXPECT_EQ(format_duration(185), "3 min 05 s");
  EXPECT_EQ(format_duration(3720), "1 h 02 min");
  EXPECT_EQ(format_duration(-1), "unknown");
}

}  // namespace
}  // namespace upg::base
