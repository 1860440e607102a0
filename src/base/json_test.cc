#include "base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "upg/error.h"

namespace upg::base {
namespace {

using testing::HasSubstr;

std::string error_of(std::string_view text, const JsonLimits& limits = {}) {
  try {
    JsonDocument document(text, "config.json", limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidData);
    return error.what();
  }
  return "no error";
}

TEST(JsonTest, ReadsEveryKind) {
  const JsonDocument document(
      R"({"null":null,"yes":true,"int":-3,"big":18446744073709551615,"real":2.5,"text":"a\nb","list":[1,[2]],"map":{"x":1}})",
      "config.json");
  const Json& root = document.root();
  EXPECT_TRUE(root.find("null")->is_null());
  EXPECT_TRUE(root.find("yes")->as_bool("yes"));
  EXPECT_EQ(root.find("int")->as_integer("int", -10, 10), -3);
  EXPECT_EQ(root.find("big")->as_number("big"), 18446744073709551616.0);
  EXPECT_EQ(root.find("real")->as_number("real"), 2.5);
  EXPECT_EQ(root.find("text")->as_string("text"), "a\nb");
  EXPECT_EQ(root.find("list")->as_array("list").size(), 2u);
  EXPECT_EQ(root.find("map")->as_object("map")[0].key, "x");
  EXPECT_EQ(root.find("none"), nullptr);
  EXPECT_EQ(root.find("int")->find("x"), nullptr);
}

TEST(JsonTest, KeepsTheOrderOfMembers) {
  const JsonDocument document(R"({"b":1,"a":2,"c":3})", "f");
  std::string order;
  for (const Json::Member& member : document.root().as_object("f")) order += member.key;
  EXPECT_EQ(order, "bac");
}

TEST(JsonTest, RefusesBrokenTexts) {
  for (const char* text :
       {"", " ", "{", "[1,]", "{\"a\":1,}", "{'a':1}", "nul", "01", "1.", "+1", "[1] 2", "\"\\x\"",
        "\"\\ud800\"", "\"a\nb\"", "1e400", "18446744073709551616", "NaN", "// x\n1"}) {
    EXPECT_THAT(error_of(text), HasSubstr("(JSON)")) << text;
  }
  EXPECT_THAT(error_of("\xef\xbb\xbf{}"), HasSubstr("byte order mark"));
  EXPECT_THAT(error_of("\"\xff\""), HasSubstr("(JSON)"));
}

TEST(JsonTest, RefusesDuplicates) {
  EXPECT_THAT(error_of(R"({"a":1,"a":1})"), HasSubstr("(DUP)"));
  EXPECT_THAT(error_of(R"({"a":1,"\u0061":1})"), HasSubstr("(DUP)"));
  std::string many = "{";
  for (int i = 0; i < 100; ++i) {
    many.append("\"").append(std::to_string(i % 99)).append("\":0,");
  }
  many.back() = '}';
  EXPECT_THAT(error_of(many), HasSubstr("\"0\""));
}

TEST(JsonTest, HoldsItsLimits) {
  const std::string deep = std::string(65, '[') + std::string(65, ']');
  EXPECT_THAT(error_of(deep), HasSubstr("(LIMIT)"));
  EXPECT_EQ(error_of(deep.substr(1, 128)), "no error");
  EXPECT_THAT(error_of(std::string(100'000, '[') + std::string(100'000, ']')),
              HasSubstr("(LIMIT)"));
  JsonLimits small;
  small.max_bytes = 4;
  EXPECT_THAT(error_of("[1, 2]", small), HasSubstr("(LIMIT)"));
}

TEST(JsonTest, IntegersMustBeIntegersInRange) {
  const JsonDocument document(R"([2.0, 2147483648, "5", true, 9223372036854775808, -1])", "f");
  for (const Json& value : document.root().as_array("f")) {
    EXPECT_THROW((void)value.as_integer("field", 0, 2147483647), Error);
  }
  const JsonDocument right("[0, 2147483647]", "f");
  EXPECT_EQ(right.root().as_array("f")[1].as_integer("field", 0, 2147483647), 2147483647);
}

TEST(JsonTest, MessagesNameFoundAndAllowed) {
  const JsonDocument document(R"({"heads":"many\u001b[31m"})", "config.json");
  try {
    (void)document.root().find("heads")->as_integer("config.json: heads", 1, 1024);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "config.json: heads: found \"many\\x1b[31m\", allowed is an integer from 1 to "
                 "1024 (FIELD)");
  }
}

TEST(JsonTest, QuoteIsReadBackAsItWas) {
  std::string text = "a\"b\\c\n\t\x01\x7f/\xc3\xa9\xf0\x9f\x98\x80\xe2\x82\xac";
  text.push_back('\0');
  const JsonDocument document(json_quote(text), "f");
  EXPECT_EQ(document.root().as_string("f"), text);
}

TEST(JsonTest, QuoteReplacesInvalidBytes) {
  for (const char* text : {"a\xff", "a\xc3", "a\xed\xa0\x80", "a\xf0\x9f\x98"}) {
    const JsonDocument document(json_quote(text), "f");
    EXPECT_THAT(std::string(document.root().as_string("f")), testing::StartsWith("a\xef\xbf\xbd"));
  }
}

}  // namespace
}  // namespace upg::base
