#include "tokenizer/unicode.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace upg::tokenizer {
namespace {

TEST(Unicode, Classes) {
  EXPECT_EQ(classes_of('A'), kLetter | kRaised);
  EXPECT_EQ(classes_of('z'), kLetter | kLowered);
  EXPECT_EQ(classes_of(0x2b0), kLetter | kRaised | kLowered);  // modifier
  EXPECT_EQ(classes_of(0x301), kMark | kRaised | kLowered);
  EXPECT_EQ(classes_of(0xbd), kNumber);
  for (const char32_t c : {0x9, 0xd, 0x20, 0x85, 0xa0, 0x1680, 0x2028, 0x3000}) {
    EXPECT_EQ(classes_of(c), kSpace) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : {0x180e, 0x200b, 0xfeff, 0x1c, 0x378, 0x10ffff}) {
    EXPECT_EQ(classes_of(c), 0) << static_cast<uint32_t>(c);
  }
  // Assigned in Unicode 16 and 15: whatever version of utf8proc is installed.
  EXPECT_EQ(classes_of(0x1c89), kLetter | kRaised);
  EXPECT_EQ(classes_of(0x10d4e), kLetter | kRaised | kLowered);
  EXPECT_EQ(classes_of(0x1e4f9), kNumber);
  EXPECT_EQ(classes_of(0x31350), kLetter | kRaised | kLowered);
}

TEST(Unicode, Words) {
  for (const char32_t c : {U'a', U'5', U'_', U'\u0301', U'\u24b6', U'\u200d', U'\u2167',
                           U'\U00010d43', U'\U00011f50'}) {
    EXPECT_TRUE(is_word(c)) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : {U' ', U'-', U'\u00bd', U'\u00b2', U'$', U'\U0001d2c1'}) {
    EXPECT_FALSE(is_word(c)) << static_cast<uint32_t>(c);
  }
}

TEST(Unicode, CharactersForwardAndBack) {
  const std::string text = "a\u00e9\u65e5\U0001f600";
  std::vector<char32_t> forward;
  for (size_t at = 0; at < text.size(); at += char_at(text, at).length) {
    forward.push_back(char_at(text, at).code);
  }
  EXPECT_EQ(forward, (std::vector<char32_t>{'a', 0xe9, 0x65e5, 0x1f600}));
  std::vector<char32_t> back;
  for (size_t at = text.size(); at > 0; at -= char_before(text, at).length) {
    back.insert(back.begin(), char_before(text, at).code);
  }
  EXPECT_EQ(back, forward);
  EXPECT_EQ(char_at(text, text.size()).length, 0);
  EXPECT_EQ(char_before(text, 0).length, 0);
}

// What Python's decode("utf-8", "replace") gives.
TEST(Unicode, RepairsLikePython) {
  const auto repaired = [](std::string_view text) {
    std::string storage;
    return std::string(repaired_utf8(text, storage));
  };
  const std::string bad = "\ufffd";
  EXPECT_EQ(repaired("fine \u65e5"), "fine \u65e5");
  EXPECT_EQ(repaired("\xff"), bad);
  EXPECT_EQ(repaired("\xe4\xb8"), bad);  // cut short: one
  EXPECT_EQ(repaired("\xe4\xb8"
                     "A"),
            bad + "A");
  EXPECT_EQ(repaired("\xe0\x80\xaf"), bad + bad + bad);  // overlong
  EXPECT_EQ(repaired("\xed\xa0\x80"), bad + bad + bad);  // a surrogate
  EXPECT_EQ(repaired("\xf0\x9f\x98"
                     "A"),
            bad + "A");
  EXPECT_EQ(repaired("\xf4\x90\x80\x80"), bad + bad + bad + bad);
  EXPECT_EQ(repaired("\xc3\xed\x95\x9c"), bad + "\ud55c");
  EXPECT_EQ(repaired("a\x80"
                     "b\xc0\xafz"),
            "a" + bad + "b" + bad + bad + "z");
}

TEST(Unicode, FinishedPrefix) {
  EXPECT_EQ(finished_utf8_prefix("ab"), 2u);
  EXPECT_EQ(finished_utf8_prefix("a\xe6\x97"), 1u);
  EXPECT_EQ(finished_utf8_prefix("a\xe6\x97\xa5"), 4u);
  EXPECT_EQ(finished_utf8_prefix("\xf0\x9f\x98"), 0u);
  EXPECT_EQ(finished_utf8_prefix("\xff"), 1u);      // never becomes a character
  EXPECT_EQ(finished_utf8_prefix("\xe0\x80"), 2u);  // nor this
  EXPECT_EQ(finished_utf8_prefix("\x80\x80\x80"), 3u);
  EXPECT_EQ(finished_utf8_prefix(""), 0u);
}

TEST(Unicode, NormalFormC) {
  EXPECT_EQ(normalize_nfc("plain"), "plain");
  EXPECT_EQ(normalize_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(normalize_nfc("e\u0323\u0302"), "\u1ec7");
  EXPECT_EQ(normalize_nfc("e\u0302\u0323"), "\u1ec7");  // marks are put in order first
  EXPECT_EQ(normalize_nfc("\u1100\u1161\u11a8"), "\uac01");
  EXPECT_EQ(normalize_nfc("\u212b\ufa0c"), "\u00c5\u5140");
  EXPECT_EQ(normalize_nfc(std::string("\0e\u0301", 4)), std::string("\0\u00e9", 3));
  // U+08D3 (Unicode 11, class 220): the package leaves it before a mark of class 1.
  EXPECT_EQ(normalize_nfc("q\u08d3\u0334"), "q\u08d3\u0334");
}

// A run of marks that come in the wrong order: n log n, where the usual exchange sort is quadratic.
TEST(Unicode, HostileMarksAreFast) {
  std::string text = "a";
  for (int i = 0; i < 200000; ++i) text += "\u0301\u0323";
  const std::string normal = normalize_nfc(text);
  EXPECT_EQ(normal.substr(0, 5), "\u1ea1\u0323");
  EXPECT_EQ(normalize_nfc(normal), normal);
}

}  // namespace
}  // namespace upg::tokenizer
