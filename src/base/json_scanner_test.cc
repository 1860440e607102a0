#include "base/json_scanner.h"

#include <gtest/gtest.h>

#include <random>

#include "base/json.h"
#include "upg/error.h"

namespace upg::base {
namespace {

using State = JsonScanner::State;

// The state behind the text; broken when it ended before.
State scan(std::string_view text) {
  JsonScanner scanner;
  State state = State::kMore;
  for (const char c : text) {
    if (state != State::kMore) return State::kBroken;
    state = scanner.push(c);
  }
  return state;
}

TEST(JsonScanner, ValuesEndWithTheirLastByte) {
  for (const char* text :
       {"{}", "[]", "\"\"", "true", "false", "null", R"({"a": [1, -0.5e+3, 0, 10], "b": {}})",
        R"("\u00e9\"\\")", "[ true , null ]", "[1.5]", "{\"a\":0}"}) {
    EXPECT_EQ(scan(text), State::kWhole) << text;
    EXPECT_EQ(scan(std::string_view(text).substr(0, std::string_view(text).size() - 1)),
              State::kMore)
        << text;
  }
}

TEST(JsonScanner, BrokenOnes) {
  for (const char* text :
       {"1",      "-",         " {}",      "}",         "{]",  "[}",   "{,",
        "{a",     "{'a'",      R"({"a",)", R"({"a":,)", "[,",  "[1,]", R"({"a":1,})",
        "[01",    "[1.]",      "[1e]",     "[+1",       "[.5", "[1 2", "\"\n",
        R"("\x)", R"("\u00g)", "trux",     "nulL",      "[-]", "[--",  "[1e+-"}) {
    EXPECT_EQ(scan(text), State::kBroken) << text;
  }
  EXPECT_EQ(scan(std::string(64, '[')), State::kMore);
  EXPECT_EQ(scan(std::string(65, '[')), State::kBroken);
}

// Texts with a changed byte: what the scanner takes for whole is what the parser reads.
TEST(JsonScanner, AgreesWithTheParser) {
  std::mt19937_64 random(3);
  const std::string seed = R"({"a": [1, -2.5, 0, true, 1e+5], "b\n": {"c": null, "d": "\u0041"}})";
  const std::string alphabet = "{}[]\",:0123456789.-+eEtrufalsn \\";
  int whole = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = seed;
    for (int changes = 1 + static_cast<int>(random() % 2); changes > 0; --changes) {
      text[random() % text.size()] = alphabet[random() % alphabet.size()];
    }
    bool parses = true;
    try {
      const JsonDocument document(text, "text");
    } catch (const Error& error) {
      const std::string_view message = error.what();
      if (message.find("DUP") != std::string_view::npos) continue;
      parses = false;
    }
    if (text[0] != '{' && text[0] != '[' && text[0] != '"') continue;
    EXPECT_EQ(scan(text) == State::kWhole, parses) << text;
    whole += parses ? 1 : 0;
  }
  EXPECT_GT(whole, 2000);
}

}  // namespace
}  // namespace upg::base
