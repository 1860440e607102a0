#include "tokenizer/added_tokens.h"

#include <gtest/gtest.h>

#include <random>

namespace upg::tokenizer {
namespace {

// Leftmost-longest by trying every string at every place.
std::vector<std::pair<size_t, size_t>> found_plainly(const std::vector<std::string_view>& strings,
                                                     std::string_view text) {
  std::vector<std::pair<size_t, size_t>> found;
  for (size_t at = 0; at < text.size();) {
    size_t longest = 0;
    for (const std::string_view string : strings) {
      if (text.substr(at).starts_with(string)) longest = std::max(longest, string.size());
    }
    if (longest > 0) found.emplace_back(at, at + longest);
    at += std::max<size_t>(longest, 1);
  }
  return found;
}

TEST(StringMatcher, LeftmostLongest) {
  std::mt19937_64 random(3);
  const auto word = [&](size_t most) {
    std::string text(1 + random() % most, 'a');
    for (char& c : text) c = "abc"[random() % 3];
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> strings;
    for (size_t i = 0; i < 1 + random() % 8; ++i) strings.push_back(word(6));
    const std::vector<std::string_view> views(strings.begin(), strings.end());
    const StringMatcher matcher(views);
    const std::string text = word(60);
    std::vector<std::pair<size_t, size_t>> found;
    for (const StringMatcher::Match& match : matcher.find(text)) {
      found.emplace_back(match.begin, match.end);
      EXPECT_EQ(text.substr(match.begin, match.end - match.begin),
                strings[static_cast<size_t>(match.index)]);
    }
    EXPECT_EQ(found, found_plainly(views, text)) << text;
  }
}

TEST(StringMatcher, OfEqualStringsTheFirst) {
  const std::vector<std::string_view> strings{"ab", "ab"};
  EXPECT_EQ(StringMatcher(strings).find("ab").at(0).index, 0);
}

// Every place begins a long match that fails at its end.
TEST(StringMatcher, HostileTextIsLinear) {
  const std::string near = std::string(20000, 'a') + "b";
  const std::vector<std::string_view> strings{near};
  EXPECT_TRUE(StringMatcher(strings).find(std::string(1 << 20, 'a')).empty());
}

std::string shown(const AddedTokenSplitter& splitter, std::string_view text) {
  std::string out;
  for (const Segment& segment : splitter.split(text)) {
    out += segment.id >= 0 ? "<" + std::to_string(segment.id) + ">" : std::string(segment.text);
    out += "|";
  }
  return out;
}

AddedTokenSplitter splitter_of(std::vector<AddedToken> tokens) {
  return AddedTokenSplitter(std::move(tokens),
                            [](std::string_view text) { return std::string(text); });
}

TEST(AddedTokens, Flags) {
  const AddedTokenSplitter splitter = splitter_of({{.id = 1, .content = "[L]", .lstrip = true},
                                                   {.id = 2, .content = "[R]", .rstrip = true},
                                                   {.id = 3, .content = "w", .single_word = true},
                                                   {.id = 4, .content = "[L][R]"}});
  EXPECT_EQ(shown(splitter, "a \n[L] b"), "a|<1>| b|");
  EXPECT_EQ(shown(splitter, "a [R] \u3000b"), "a |<2>|b|");
  EXPECT_EQ(shown(splitter, "[R]  [L]"), "<2>|<1>|");
  EXPECT_EQ(shown(splitter, "w xw w-w w\u0301 w_"), "<3>| xw |<3>|-|<3>| w\u0301 w_|");
  EXPECT_EQ(shown(splitter, "[L][R][L]"), "<4>|<1>|");
  EXPECT_EQ(shown(splitter, ""), "");
}

// Tokens of white space behind one that strips: the package's answer, not the tidy one.
TEST(AddedTokens, StrippedSpaceIsStillMatched) {
  const AddedTokenSplitter splitter =
      splitter_of({{.id = 1, .content = "R", .rstrip = true}, {.id = 2, .content = "  "}});
  EXPECT_EQ(shown(splitter, "R   x"), "<1>|<2>| x|");
}

TEST(AddedTokens, HostileSpacesAreLinear) {
  const AddedTokenSplitter splitter =
      splitter_of({{.id = 1, .content = " ", .lstrip = true, .rstrip = true}});
  EXPECT_EQ(splitter.split(std::string(1 << 20, ' ')).size(), size_t{1} << 20);
}

}  // namespace
}  // namespace upg::tokenizer
