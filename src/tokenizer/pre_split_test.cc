#include "tokenizer/pre_split.h"

#include <gtest/gtest.h>

#include "tokenizer/regex_split.h"
#include "tokenizer/tokenizer_testing.h"
#include "upg/error.h"

namespace upg::tokenizer {
namespace {

std::vector<std::string> scanned(Scanner scan, std::string_view text) {
  std::vector<std::string> pieces;
  for (size_t at = 0, end; at < text.size(); at = end) {
    end = scan(text, at);
    EXPECT_GT(end, at);
    pieces.emplace_back(text.substr(at, end - at));
  }
  return pieces;
}

std::vector<std::string> matched(const RegexSplit& regex, std::string_view text) {
  RegexSplit::Scratch scratch;
  std::vector<std::string> pieces;
  for (const RegexSplit::Match& match : regex.matches(text, scratch)) {
    pieces.emplace_back(text.substr(match.begin, match.end - match.begin));
  }
  return pieces;
}

// Oniguruma's {1,3}+ is a repeated group, PCRE2's a possessive interval.
std::string in_pcre(std::string_view pattern) {
  std::string text(pattern);
  const size_t at = text.find("{1,3}+");
  return at == std::string::npos ? text : text.replace(at, 6, "+");
}

TEST(PreSplit, ScannersAgreeWithPcre) {
  std::mt19937_64 random(1);
  for (const KnownPattern& known : known_patterns()) {
    const RegexSplit regex(in_pcre(known.pattern), "test");
    for (int i = 0; i < 4000; ++i) {
      const std::string text = testing::random_text(random, 24);
      ASSERT_EQ(scanned(known.scan, text), matched(regex, text)) << known.pattern << "\n" << text;
    }
  }
}

TEST(PreSplit, WhatThePiecesAre) {
  using Pieces = std::vector<std::string>;
  EXPECT_EQ(scanned(scan_gpt2, "I'm 12345  well\n\n x"),
            (Pieces{"I", "'m", " 12345", " ", " well", "\n\n", " x"}));
  const Scanner cl100k = find_scanner(known_patterns()[2].pattern);
  ASSERT_NE(cl100k, nullptr);
  EXPECT_EQ(scanned(cl100k, "I'M 12345\n\n  (well)\n"),
            (Pieces{"I", "'M", " ", "123", "45", "\n\n", " ", " (", "well", ")\n"}));
}

TEST(PreSplit, UnknownPatternHasNoScanner) { EXPECT_EQ(find_scanner("\\p{L}+"), nullptr); }

// A megabyte of one thing, and of two that make a scanner go back, as one piece or many.
TEST(PreSplit, HostileTextIsLinear) {
  std::string raised;
  while (raised.size() < (1 << 20)) raised += "A\u672c";
  for (const KnownPattern& known : known_patterns()) {
    for (const std::string& text : {std::string(1 << 20, ' '), std::string(1 << 20, '\''), raised,
                                    "\u672c" + std::string(1 << 20, 'A')}) {
      size_t pieces = 0;
      for (size_t at = 0; at < text.size(); at = known.scan(text, at)) ++pieces;
      EXPECT_GE(pieces, 1u);
    }
  }
}

TEST(RegexSplit, TranslatesWhatDiffers) {
  EXPECT_EQ(translate_pattern("[^\\s]x\\p{Lu}+", "t"), "[^\\t-\\r\\x{85}\\p{Z}]x\\p{Lu}+");
  // White_Space, without the Mongolian vowel separator that PCRE2's \s has.
  EXPECT_EQ(matched(RegexSplit("\\s", "t"), "a\u180e\u0085b\u2028"),
            (std::vector<std::string>{"\u0085", "\u2028"}));
  EXPECT_EQ(matched(RegexSplit("\\S+", "t"), "a\u180e\u0085b\u2028"),
            (std::vector<std::string>{"a\u180e", "b"}));
  EXPECT_EQ(matched(RegexSplit("\\w+", "t"), "a_\u0301\u00b2-\u24b6"),
            (std::vector<std::string>{"a_\u0301\u00b2", "\u24b6"}));
}

TEST(RegexSplit, RefusesByName) {
  const auto message = [](std::string_view pattern) -> std::string {
    try {
      const RegexSplit regex(pattern, "tokenizer.json: pattern");
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  for (const char* pattern :
       {"\\h", "a\\b", "\\K", "(*UTF)a", "(?Ca)", "[[:alpha:]]", "[a&&b]", "a{2}+", "x{,3}",
        "(?m)a", "(?<n>a)", "[\\S]", "a*", "a\\", "\\1(a)", "(?R)", "(?#", "\\Q"}) {
    EXPECT_NE(message(pattern), "accepted") << pattern;
  }
  EXPECT_NE(message("(a").find("tokenizer.json: pattern"), std::string::npos);
  EXPECT_NE(message("\\h").find("\\h"), std::string::npos);
  EXPECT_NE(message(std::string(100000, 'a')).find("LIMIT"), std::string::npos);
}

// A pattern that backtracks without end fails; it does not hang.
TEST(RegexSplit, EndlessBacktrackingIsAnError) {
  const RegexSplit regex("(?:a+)+b|(?:x+x+)+y", "tokenizer.json: pattern");
  RegexSplit::Scratch scratch;
  EXPECT_THROW(regex.matches(std::string(5000, 'a'), scratch), Error);
  EXPECT_EQ(regex.matches("aab", scratch).size(), 1u);  // and the scratch is still good
}

}  // namespace
}  // namespace upg::tokenizer
