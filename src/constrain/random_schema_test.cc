// Random walks over the masks of random schemas end in texts that satisfy the schemas.
#include <gtest/gtest.h>

#include "base/json.h"
#include "constrain/constrain_testing.h"
#include "upg/error.h"

namespace upg::constrain {
namespace {

// The text as JSON; nullopt when two members of an object have the same name, which only members
// beyond the named ones may.
std::optional<base::JsonDocument> parsed(const std::string& text) {
  try {
    return base::JsonDocument(text, "text");
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("(DUP)"), std::string::npos)
        << error.what() << ": " << text;
    return std::nullopt;
  }
}

TEST(RandomSchema, WalksSatisfyTheSchema) {
  std::mt19937_64 random(7);
  const auto table = testing::mixed_table(2000, 3);
  int walks = 0, unfinished = 0;
  for (int i = 0; i < 150; ++i) {
    const std::string text = testing::random_schema(random, 3);
    const base::JsonDocument schema(text, "schema");
    const auto grammar = Grammar::json_schema(schema.root(), "schema");
    for (int k = 0; k < 4; ++k) {
      const std::string found = testing::random_walk(grammar, table, random, 40);
      unfinished += found.empty() ? 1 : 0;
      if (found.empty()) continue;
      EXPECT_EQ(testing::read(grammar, found), testing::Verdict::kWhole) << text << "\n" << found;
      const auto value = parsed(found);
      if (!value) continue;
      EXPECT_TRUE(testing::validates(schema.root(), value->root(), schema.root())) << text << "\n"
                                                                                   << found;
      ++walks;
    }
  }
  EXPECT_GT(walks, 400);
  EXPECT_LT(unfinished, 60);
}

TEST(RandomSchema, AnyObject) {
  std::mt19937_64 random(11);
  const auto table = testing::mixed_table(2000, 5);
  int walks = 0;
  for (int i = 0; i < 60; ++i) {
    const std::string found = testing::random_walk(Grammar::json_object(), table, random, 60);
    if (found.empty()) continue;
    const auto value = parsed(found);
    if (!value) continue;
    EXPECT_TRUE(value->root().is_object());
    ++walks;
  }
  EXPECT_GT(walks, 20);
}

// The validator is one: it refuses what breaks a schema.
TEST(RandomSchema, TheValidatorRefuses) {
  const auto valid = [](std::string_view schema, std::string_view value) {
    const base::JsonDocument s(schema, "s"), v(value, "v");
    return testing::validates(s.root(), v.root(), s.root());
  };
  EXPECT_TRUE(valid(R"({"type": "integer", "minimum": 3})", "3"));
  EXPECT_FALSE(valid(R"({"type": "integer", "minimum": 3})", "2"));
  EXPECT_FALSE(valid(R"({"properties": {"a": {"type": "string"}}})", R"({"a": 1})"));
  EXPECT_FALSE(valid(R"({"required": ["a"]})", "{}"));
  EXPECT_FALSE(valid(R"({"additionalProperties": false})", R"({"a": 1})"));
  EXPECT_FALSE(valid(R"({"maxLength": 2})", R"("éé é")"));
  EXPECT_FALSE(
      valid(R"({"prefixItems": [{"type": "null"}], "items": {"type": "string"}})", "[null, 1]"));
  EXPECT_FALSE(valid(R"({"anyOf": [{"type": "null"}, {"const": 2}]})", "3"));
}

}  // namespace
}  // namespace upg::constrain
