#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/json.h"
#include "base/text.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer_testing.h"
#include "upg/error.h"

namespace upg::tokenizer {
namespace {

using base::Json;

constexpr const char* kBundled = "models/books-12m/tokenizer.json";

std::vector<int32_t> integers(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& id : list.as_array("golden")) {
    ids.push_back(static_cast<int32_t>(id.as_integer("golden", 0, INT32_MAX)));
  }
  return ids;
}

// The bundled tokenizer with other members beside its model.
std::string bundled_with(const std::string& bundled, std::string_view members) {
  return "{" + std::string(members) + ", " + bundled.substr(bundled.find("\"model\""));
}

// Ids of the `tokenizers` package (tests/oracle/tokenizer_oracle.py --write-golden).
TEST(Tokenizer, GoldenIds) {
  const std::string bundled = testing::source_file(kBundled);
  if (bundled.empty()) GTEST_SKIP() << kBundled << " is not there";
  const std::string text = testing::source_file("tests/golden/tokenizer_ids.json");
  const base::JsonDocument golden(text, "golden");
  int compared = 0;
  for (const Json& entry : golden.root().as_array("golden")) {
    const auto name = entry.find("name")->as_string("golden");
    const auto members = entry.find("members")->as_string("golden");
    const Tokenizer tokenizer = Tokenizer::load(bundled_with(bundled, members), "", name);
    for (const Json& item : entry.find("cases")->as_array("golden")) {
      const auto input = item.as_array("golden")[0].as_string("golden");
      const std::vector<int32_t> ids = tokenizer.encode(input);
      ASSERT_EQ(ids, integers(item.as_array("golden")[1])) << name << ": " << input;
      if (entry.find("exact")->as_bool("golden")) {
        ASSERT_EQ(tokenizer.decode(ids, false), input) << name;
      }
      ++compared;
    }
  }
  EXPECT_GT(compared, 800);
}

TEST(Tokenizer, BundledConfig) {
  const std::string bundled = testing::source_file(kBundled);
  if (bundled.empty()) GTEST_SKIP() << kBundled << " is not there";
  const Tokenizer tokenizer = Tokenizer::load(
      bundled, testing::source_file("models/books-12m/tokenizer_config.json"), kBundled);
  EXPECT_EQ(tokenizer.vocab_size(), 8192);
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.id_of("<|im_end|>"), 2);
  EXPECT_EQ(tokenizer.id_of("no such token"), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(2));
  EXPECT_FALSE(tokenizer.is_special(100));
  EXPECT_FALSE(tokenizer.is_special(-1));
  EXPECT_FALSE(tokenizer.is_special(1 << 30));
}

std::string merged_tokenizer() {
  return testing::small_tokenizer(
      {"a b", "ab c", "\u0120 ab", "\u00f0 \u0141", "\u0120 \u0120", "a a", "aa aa"},
      R"("added_tokens": [{"id": 300, "content": "<|s|>", "special": true},
                          {"id": 301, "content": "\u00e9t\u00e9", "special": false}],
         "post_processor": {"type": "TemplateProcessing",
           "single": [{"SpecialToken": {"id": "<|s|>", "type_id": 0}},
                      {"Sequence": {"id": "A", "type_id": 0}}],
           "special_tokens": {"<|s|>": {"id": "<|s|>", "ids": [300], "tokens": ["<|s|>"]}}},)" +
          testing::split_members(
              R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"));
}

TEST(Tokenizer, SmallOne) {
  const Tokenizer tokenizer = Tokenizer::load(merged_tokenizer(), "", "t");
  EXPECT_EQ(tokenizer.encode("abc ab", false), (std::vector<int32_t>{257, 258}));
  EXPECT_EQ(tokenizer.encode("abc<|s|>", true), (std::vector<int32_t>{300, 257, 300}));
  EXPECT_EQ(tokenizer.encode("", true), (std::vector<int32_t>{300}));
  EXPECT_EQ(tokenizer.encode("", false), (std::vector<int32_t>{}));
  EXPECT_EQ(tokenizer.piece(258), " ab");
  EXPECT_EQ(tokenizer.piece(259), "\xf0\x9f");
  EXPECT_EQ(tokenizer.piece(301), "\u00e9t\u00e9");  // an added token is its content
  EXPECT_EQ(tokenizer.piece(280), "");               // a gap
  EXPECT_EQ(tokenizer.piece(-1), "");
  EXPECT_EQ(tokenizer.vocab_size(), 302);
  const std::vector<int32_t> ids = tokenizer.encode("\u00e9t\u00e9 <|s|>abc");
  EXPECT_EQ(tokenizer.decode(ids, true), "\u00e9t\u00e9 abc");
  EXPECT_EQ(tokenizer.decode(ids, false), "<|s|>\u00e9t\u00e9 <|s|>abc");
}

TEST(Tokenizer, InvalidUtf8AndNul) {
  const Tokenizer tokenizer = Tokenizer::load(merged_tokenizer(), "", "t");
  EXPECT_EQ(tokenizer.encode("a\xff\xe4\xb8", false), tokenizer.encode("a\ufffd\ufffd", false));
  const std::string nul("a\0b", 3);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(nul, false), false), nul);
  const std::vector<int32_t> half{259};
  EXPECT_EQ(tokenizer.decode(half, false), "\ufffd");
}

// Also on bytes that tokens cut in the middle of characters, as random ids do.
TEST(Tokenizer, StreamSaysWhatDecodeSays) {
  const std::string bundled = testing::source_file(kBundled);
  const Tokenizer tokenizer =
      Tokenizer::load(bundled.empty() ? merged_tokenizer() : bundled, "", "t");
  std::mt19937_64 random(5);
  for (int round = 0; round < 300; ++round) {
    std::vector<int32_t> ids = tokenizer.encode(testing::random_text(random, 20));
    for (int i = 0; i < round % 7; ++i) {
      ids.insert(ids.begin() + static_cast<std::ptrdiff_t>(random() % (ids.size() + 1)),
                 static_cast<int32_t>(random() % 400));
    }
    for (const bool skip : {true, false}) {
      StreamDecoder stream(tokenizer, skip);
      std::string text;
      for (const int32_t id : ids) {
        const std::string part = stream.push(id);
        ASSERT_EQ(base::valid_utf8_prefix(part), part.size());
        text += part;
      }
      text += stream.finish();
      ASSERT_EQ(text, tokenizer.decode(ids, skip));
      ASSERT_EQ(stream.finish(), "");
    }
  }
}

TEST(Tokenizer, StreamHoldsBackHalfCharacters) {
  const Tokenizer tokenizer = Tokenizer::load(merged_tokenizer(), "", "t");
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.push(259), "");                                   // f0 9f
  EXPECT_EQ(stream.push(*tokenizer.id_of("\u013a")), "");            // 98
  EXPECT_EQ(stream.push(*tokenizer.id_of("\u0122")), "\U0001f600");  // 80
  EXPECT_EQ(stream.push(259), "");
  EXPECT_EQ(stream.push(97), "\ufffd" + std::string(tokenizer.piece(97)));
  EXPECT_EQ(stream.push(259), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
}

TEST(Tokenizer, RoundTripOfAnyText) {
  const std::string bundled = testing::source_file(kBundled);
  std::mt19937_64 random(9);
  for (const std::string& json : {merged_tokenizer(), bundled}) {
    if (json.empty()) continue;
    const Tokenizer tokenizer = Tokenizer::load(json, "", "t");
    for (int i = 0; i < 1000; ++i) {
      const std::string text = testing::random_text(random, 60);
      ASSERT_EQ(tokenizer.decode(tokenizer.encode(text, false), false), text);
    }
  }
}

TEST(Tokenizer, ManyThreads) {
  const Tokenizer tokenizer = Tokenizer::load(merged_tokenizer(), "", "t");
  const std::string text = "abc ab  \u00e9t\u00e9 <|s|> aaaa 123";
  const std::vector<int32_t> expected = tokenizer.encode(text);
  std::vector<std::thread> threads;
  threads.reserve(4);
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, copy = tokenizer] {
      for (int i = 0; i < 200; ++i) wrong += copy.encode(text) != expected ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// A megabyte of one letter as one piece, for merges that join it and that do not.
TEST(Tokenizer, HostileTextIsFast) {
  const std::string no_split =
      R"("pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})";
  const Tokenizer tokenizer = Tokenizer::load(
      testing::small_tokenizer({"a a", "aa aa", "aaaa aaaa", "b a"}, no_split), "", "t");
  EXPECT_EQ(tokenizer.encode(std::string(1 << 20, 'a')).size(), size_t{1} << 17);
  EXPECT_EQ(tokenizer.encode(std::string(1 << 20, 'b')).size(), size_t{1} << 20);
}

}  // namespace
}  // namespace upg::tokenizer
