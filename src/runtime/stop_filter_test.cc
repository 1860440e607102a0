#include "runtime/stop_filter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "upg/error.h"

namespace upg::runtime {
namespace {

TEST(StopFilter, WithoutStopStringsEverythingPasses) {
  StopFilter filter({});
  EXPECT_EQ(filter.push("one "), "one ");
  EXPECT_EQ(filter.push("two"), "two");
  EXPECT_FALSE(filter.stopped());
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, HoldsBackWhatMayBecomeOne) {
  StopFilter filter({"\n\n", "END"});
  EXPECT_EQ(filter.push("text\n"), "text");
  EXPECT_EQ(filter.push("more E"), "\nmore ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("E"), "EN");
  EXPECT_EQ(filter.push("ND and more"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("nothing"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, TheFirstOneEndsIt) {
  StopFilter filter({"later", "now"});
  EXPECT_EQ(filter.push("a now b later c"), "a ");
  EXPECT_TRUE(filter.stopped());
}

TEST(StopFilter, WhatWasNoneComesAtTheEnd) {
  StopFilter filter({"stop"});
  EXPECT_EQ(filter.push("do not sto"), "do not ");
  EXPECT_EQ(filter.finish(), "sto");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, AnEmptyOneIsRefused) {
  try {
    StopFilter({"a", ""});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
  }
}

// Letter by letter: where the stop string begins that is complete first, the longer of two.
size_t before_stop(std::string_view text, std::vector<std::string> stops) {
  std::sort(stops.begin(), stops.end(), [](auto& a, auto& b) { return a.size() > b.size(); });
  for (size_t end = 0; end <= text.size(); ++end) {
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop)) return end - stop.size();
    }
  }
  return std::string::npos;
}

// However the text is cut, what comes out is the text up to the first stop string.
TEST(StopFilter, TheCutsDoNotMatter) {
  std::mt19937 random(2);
  const auto letters = [&](size_t least, size_t most) {
    std::string text(least + random() % (most - least + 1), 'a');
    for (char& letter : text) letter = static_cast<char>('a' + random() % 2);
    return text;
  };
  int stops = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string text = letters(0, 30);
    const std::vector<std::string> strings = {letters(1, 8), letters(3, 8)};
    const size_t end = before_stop(text, strings);
    StopFilter filter(strings);
    std::string shown;
    for (size_t at = 0; at < text.size() && !filter.stopped();) {
      const size_t n = 1 + random() % 4;
      shown += filter.push(std::string_view(text).substr(at, n));
      ASSERT_TRUE(text.substr(0, end).starts_with(shown)) << text;
      at += n;
    }
    shown += filter.finish();
    ASSERT_EQ(shown, text.substr(0, end)) << strings[0] << " " << strings[1];
    ASSERT_EQ(filter.stopped(), end != std::string::npos);
    stops += filter.stopped();
  }
  EXPECT_GT(stops, 500);
}

}  // namespace
}  // namespace upg::runtime
