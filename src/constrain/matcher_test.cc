// Tokens against grammars: masks, ends, characters cut in two, many threads, what it costs.
#include "constrain/matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>

#include "constrain/constrain_testing.h"

namespace upg::constrain {
namespace {

using testing::mixed_table;
using testing::schema_grammar;

int32_t token_of(const TokenTable& table, std::string_view piece) {
  for (int32_t id = 0; id < table.size(); ++id) {
    if (table.piece(id) == piece) return id;
  }
  ADD_FAILURE() << "no token " << piece;
  return -1;
}

void write(Matcher& matcher, const TokenTable& table, std::initializer_list<const char*> pieces) {
  for (const char* piece : pieces) {
    const int32_t token = token_of(table, piece);
    ASSERT_TRUE(matcher.allows(token)) << piece;
    matcher.advance(token);
  }
}

TEST(TokenTable, SortsPieces) {
  const std::vector<std::string_view> pieces{"b", "", "abc", "ab", "b"};
  const TokenTable table(pieces);
  EXPECT_EQ(table.size(), 5);
  ASSERT_EQ(table.sorted_size(), 4u);
  const std::vector<std::string_view> sorted{"ab", "abc", "b", "b"};
  for (size_t i = 0; i < sorted.size(); ++i) EXPECT_EQ(table.sorted_piece(i), sorted[i]);
  EXPECT_EQ(table.shared_prefix(1), 2u);
  EXPECT_EQ(table.shared_prefix(3), 1u);
  EXPECT_EQ(table.piece(2), "abc");
  EXPECT_EQ(table.piece(1), "");
  EXPECT_EQ(table.piece(-1), "");
  EXPECT_EQ(table.piece(5), "");
  EXPECT_EQ(TokenTable({}).size(), 0);
}

TEST(Matcher, CompleteAndMustEnd) {
  const auto table = mixed_table(0, 1);
  Matcher matcher(schema_grammar(R"({"type": "integer"})"), table);
  EXPECT_FALSE(matcher.complete());
  write(matcher, *table, {"12"});
  EXPECT_TRUE(matcher.complete());
  EXPECT_FALSE(matcher.must_end());
  Matcher object(Grammar::json_object(), table);
  write(object, *table, {"{\"", "a", "\":", "12", "}"});
  EXPECT_TRUE(object.complete());
  EXPECT_TRUE(object.must_end());
}

TEST(Matcher, CopiesGoTheirOwnWay) {
  const auto table = mixed_table(0, 1);
  Matcher first(Grammar::json_object(), table);
  write(first, *table, {"{\""});
  Matcher second = first;
  write(second, *table, {"a", "\": ", "[]", "}"});
  EXPECT_TRUE(second.must_end());
  EXPECT_FALSE(first.complete());
  write(first, *table, {"name", "\":"});
}

TEST(Matcher, TokensThatCutACharacter) {
  const auto table = mixed_table(0, 1);
  const auto grammar = schema_grammar(R"({"type": "string", "maxLength": 1})");
  Matcher matcher(grammar, table);
  write(matcher, *table, {"\"", "\xf0\x9f"});
  EXPECT_FALSE(matcher.allows(token_of(*table, "a")));
  EXPECT_FALSE(matcher.allows(token_of(*table, "\"")));
  write(matcher, *table, {"\x98\x80\""});
  EXPECT_TRUE(matcher.must_end());
}

TEST(Matcher, TheMaskIsWhatIsAllowed) {
  const auto table = mixed_table(500, 9);
  const int32_t special = table->size() - 1;
  std::mt19937_64 random(5);
  const auto grammar = schema_grammar(R"({"type": "object", "properties": {"name":
      {"type": "string", "maxLength": 3}, "n": {"type": "number"}}, "required": ["name"],
      "additionalProperties": true})");
  Matcher matcher(grammar, table);
  std::vector<float> logits(static_cast<size_t>(table->size()) + 3);
  for (int step = 0; step < 60 && !matcher.must_end(); ++step) {
    std::fill(logits.begin(), logits.end(), 1.0f);
    matcher.mask(logits, std::vector<int32_t>{special, -1, 1 << 30});
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < table->size() + 3; ++id) {
      const bool stays = logits[static_cast<size_t>(id)] == 1.0f;
      EXPECT_TRUE(stays || std::isinf(logits[static_cast<size_t>(id)]));
      EXPECT_EQ(stays, id == special ? matcher.complete() : matcher.allows(id)) << id;
      if (stays && id != special) allowed.push_back(id);
    }
    ASSERT_FALSE(allowed.empty());
    matcher.advance(allowed[random() % allowed.size()]);
  }
}

TEST(Machine, APositionMovesToAnother) {
  const auto grammar = schema_grammar(R"({"type": "string", "maxLength": 60000})");
  Machine full(grammar->program());
  StateId at = full.read(full.start(), "\"");
  for (int i = 0; i < 100; ++i) at = full.read(at, std::string(500, 'a'));
  ASSERT_NE(at, kDead);
  EXPECT_TRUE(full.is_full());
  Machine fresh(grammar->program());
  const StateId moved = fresh.adopt(full, at);
  EXPECT_FALSE(fresh.is_full());
  EXPECT_TRUE(fresh.accepts(fresh.read(moved, std::string(10'000, 'b') + "\"")));
  EXPECT_EQ(fresh.read(moved, std::string(10'001, 'b')), kDead);
}

// A grammar whose machines fill up: positions move from one to the next unharmed.
TEST(Matcher, OutlivesFullMachines) {
  const auto table = mixed_table(300, 2);
  const auto grammar = schema_grammar(R"({"type": "array", "items": {"type": "string",
      "maxLength": 3000}, "maxItems": 400})");
  Matcher early(grammar, table);
  write(early, *table, {"[", "\"", "a"});
  Matcher matcher(grammar, table);
  write(matcher, *table, {"["});
  std::vector<float> logits(static_cast<size_t>(table->size()));
  for (int item = 0; item < 12; ++item) {
    write(matcher, *table, {"\""});
    for (int i = 0; i < 1500; ++i) write(matcher, *table, {"é", "a"});
    matcher.mask(logits, {});
    write(matcher, *table, {"\",", " "});
  }
  write(matcher, *table, {"\"", "\"", "]"});
  EXPECT_TRUE(matcher.must_end());
  write(early, *table, {"\"", "]"});
  EXPECT_TRUE(early.must_end());
}

TEST(Matcher, ThreadsShareAGrammar) {
  const auto table = mixed_table(400, 4);
  const auto grammar = Grammar::json_object();
  std::vector<std::thread> threads;
  std::vector<int> ended(4);
  for (size_t t = 0; t < ended.size(); ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 5; ++i) {
        ended[t] += testing::random_walk(grammar, table, random, 20).empty() ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : ended) EXPECT_GT(count, 0);
}

// A vocabulary of the size of Phi-4-mini's; bounds are far above what is measured.
TEST(Matcher, CostOfALargeVocabulary) {
  using Clock = std::chrono::steady_clock;
  const auto milliseconds = [](Clock::duration spent) {
    return std::chrono::duration<double, std::milli>(spent).count();
  };
  auto begin = Clock::now();
  const auto table = mixed_table(200'000, 8);
  const double table_ms = milliseconds(Clock::now() - begin);
  begin = Clock::now();
  const auto grammar = schema_grammar(R"({"type": "object", "properties": {"text":
      {"type": "string"}, "short": {"type": "string", "maxLength": 500},
      "n": {"type": "integer", "minimum": 3}}, "required": ["text", "short", "n"]})");
  const double compile_ms = milliseconds(Clock::now() - begin);
  Matcher matcher(grammar, table);
  std::vector<float> logits(static_cast<size_t>(table->size()));
  std::string report;
  const auto mask_ms = [&](const char* where) {
    const auto from = Clock::now();
    matcher.mask(logits, {});
    const double first = milliseconds(Clock::now() - from);
    const auto again = Clock::now();
    matcher.mask(logits, {});
    std::printf("mask %s: %.2f ms, again %.2f ms\n", where, first,
                milliseconds(Clock::now() - again));
    return first;
  };
  double slowest = mask_ms("at the start");
  for (const char* piece : {"{\"", "t", "e", "x", "t", "\": ", "\""}) {
    matcher.advance(token_of(*table, piece));
  }
  slowest = std::max(slowest, mask_ms("in a string"));
  for (const char* piece : {"\", \"", "s", "h", "o", "r", "t", "\": ", "\""}) {
    matcher.advance(token_of(*table, piece));
  }
  slowest = std::max(slowest, mask_ms("in a string with a length"));
  begin = Clock::now();
  int allowed = 0;
  for (int32_t id = 0; id < 20'000; ++id) allowed += matcher.allows(id) ? 1 : 0;
  const double allows_us = 1000 * milliseconds(Clock::now() - begin) / 20'000;
  std::printf("table %.0f ms, compile %.2f ms, allows %.3f us\n", table_ms, compile_ms, allows_us);
  EXPECT_GT(allowed, 1000);
  EXPECT_LT(slowest, 500);
  EXPECT_LT(allows_us, 100);
}

}  // namespace
}  // namespace upg::constrain
