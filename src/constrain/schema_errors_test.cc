// What is refused, with the path of the part; hostile schemas end in an error, soon.
#include <gtest/gtest.h>

#include <chrono>

#include "constrain/constrain_testing.h"
#include "upg/error.h"

namespace upg::constrain {
namespace {

std::string repeated(std::string_view text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

std::string error_of(std::string_view schema) {
  base::JsonLimits limits;
  limits.max_depth = 1000;
  const base::JsonDocument document(schema, "text", limits);
  try {
    Grammar::json_schema(document.root(), "schema");
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    return error.what();
  }
}

TEST(SchemaErrors, NameThePathOfThePart) {
  EXPECT_EQ(error_of(R"({"type": "object", "properties": {"age": {"multipleOf": 2}}})"),
            "schema.properties.age: `multipleOf` is not supported");
  EXPECT_EQ(error_of(R"({"$defs": {"A": {"type": "array", "uniqueItems": true}},
                         "properties": {"x": {"items": {"$ref": "#/$defs/A"}}}})"),
            "schema#/$defs/A: `uniqueItems` is not supported");
  EXPECT_EQ(error_of(R"({"anyOf": [{}, {"type": "strin"}]})"),
            "schema.anyOf[1].type: found \"strin\", allowed are object, array, string, number, "
            "integer, boolean, null");
  EXPECT_EQ(error_of("3"), "schema: found 3, allowed is a schema: an object, true or false");
  EXPECT_EQ(error_of(R"({"properties": {"a": {"minLength": -1}}})"),
            "schema.properties.a.minLength: found -1, allowed are integers from 0 to 65536");
  EXPECT_EQ(error_of(R"({"$ref": "#/$defs/no"})"),
            "schema.$ref: found \"#/$defs/no\", which leads nowhere; allowed are #, #/$defs/NAME "
            "and other paths in this schema");
  EXPECT_EQ(error_of(R"x({"type": "string", "pattern": "(?=a)"})x"),
            "schema.pattern: a look around or a flag at byte 1 is not supported");
  EXPECT_EQ(error_of("false"), "schema: no text of at most 64 levels satisfies it");
}

TEST(SchemaErrors, WhatIsNotSupported) {
  for (const char* schema :
       {R"({"type": 3})",
        R"({"type": ["string", 3]})",
        R"({"properties": []})",
        R"({"required": "a"})",
        R"({"required": [1]})",
        R"({"enum": []})",
        R"({"enum": "a"})",
        R"({"type": "integer", "enum": ["a"]})",
        R"({"anyOf": []})",
        R"({"anyOf": {}})",
        R"({"allOf": [{}, {}]})",
        R"({"anyOf": [{}], "type": "string"})",
        R"({"$ref": "#", "minLength": 1})",
        R"({"$ref": 3})",
        R"({"$ref": "other.json"})",
        R"({"$ref": "#x"})",
        R"({"not": {}})",
        R"({"if": {}})",
        R"({"patternProperties": {}})",
        R"({"items": [{}]})",
        R"({"prefixItems": {}})",
        R"({"minItems": 1.5})",
        R"({"maxItems": 2147483648})",
        R"({"maxLength": "3"})",
        R"({"minimum": "0"})",
        R"({"minimum": 1e30})",
        R"({"minimum": 0, "exclusiveMinimum": 0})",
        R"({"type": "string", "format": "regex"})",
        R"({"format": 1})",
        R"({"pattern": 1})",
        R"({"pattern": "a", "maxLength": 2})",
        R"({"pattern": "^a*b*$", "maxLength": 2})",
        R"({"pattern": "^a$|^b+$", "maxLength": 2})",
        R"({"pattern": "^a$", "format": "date"})",
        R"({"format": "email", "maxLength": 9})",
        R"({"const": 1, "enum": [1, 2]})",
        R"({"nullable": 1})",
        R"({"minProperties": 1})",
        R"({"required": ["x"], "properties": {}, "additionalProperties": false})",
        R"({"type": []})",
        R"({"propertyNames": {"type": "integer"}})",
        R"({"propertyNames": 3})",
        R"({"propertyNames": {"enum": ["a", 1]}})",
        R"({"propertyNames": {"anyOf": [{}]}})",
        R"({"propertyNames": {}, "properties": {}})",
        R"({"const": 1, "minimum": 0})",
        R"({"properties": {"a": {"properties": {"b": 1}}}})"}) {
    EXPECT_NE(error_of(schema), "") << schema;
  }
  for (const char* pattern :
       {"a(?!b)", "(?<=a)b", "(a)\\\\1",  "\\\\bword", "a**",      "*a",        "^+a",
        "{2}x",   "a{3,1}",  "a{1001}",   "a{1",       "(a",       "a)",        "[a",
        "[]",     "[z-a]",   "[\\\\d-z]", "a\\\\",     "\\\\p{L}", "\\\\ud800", "a^b",
        "a$b",    "(^a)",    "\\\\x4",    "\\\\01",    "(?i)a",    "(?<name"}) {
    EXPECT_NE(error_of(R"({"type": "string", "pattern": ")" + std::string(pattern) + "\"}"), "")
        << pattern;
  }
}

TEST(SchemaErrors, WhatNarrowsNothingIsIgnored) {
  EXPECT_EQ(error_of(R"({"$schema": "x", "$id": "y", "title": "T", "description": "d",
                         "default": 1, "examples": [1], "$comment": "c", "deprecated": true,
                         "discriminator": {"propertyName": "k"}, "strict": true, "x-order": 1,
                         "uniqueItems": false, "minProperties": 0, "type": "object"})"),
            "");
}

TEST(SchemaErrors, HostileSchemasEndSoon) {
  const auto begin = std::chrono::steady_clock::now();
  const auto groups = [](int count) {
    return R"({"type": "string", "pattern": ")" + repeated("(", count) + "a" +
           repeated(")", count) + "\"}";
  };
  EXPECT_NE(error_of(groups(900)), "");
  EXPECT_NE(error_of(groups(60000)), "");
  EXPECT_NE(error_of(repeated(R"({"anyOf": [)", 400) + "false" + repeated("]}", 400)), "");
  EXPECT_NE(error_of(R"({"$ref": "#"})"), "");
  EXPECT_NE(error_of(R"({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
                         "$ref": "#/$defs/a"})"),
            "");
  EXPECT_NE(
      error_of(R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})"), "");
  EXPECT_NE(error_of(R"({"type": "array", "items": {"$ref": "#"}, "minItems": 1})"), "");
  EXPECT_NE(error_of(R"({"type": "array", "minItems": 2147483648})"), "");
  // 60,000 definitions, each of which refers to the next.
  std::string chain = R"({"$ref": "#/$defs/d0", "$defs": {)";
  for (int i = 0; i < 60000; ++i) {
    const std::string next = std::to_string(i + 1);
    chain += "\"d" + std::to_string(i) + R"(": {"type": "array", "items": {"$ref": "#/$defs/d)" +
             next + "\"}},";
  }
  EXPECT_NE(error_of(chain + R"("d60000": {"type": "null"}}})"), "");  // too large
  // Each of 20 lists holds 60,000 of the next.
  const std::string counted = repeated(R"({"type": "array", "minItems": 60000, "items": )", 20) +
                              R"({"type": "integer"})" + repeated("}", 20);
  EXPECT_NE(error_of(counted), "");
  // Thousands of alternatives in alternatives that all begin alike.
  std::string alike = R"({"type": "integer"})";
  for (int i = 0; i < 12; ++i) {
    std::string ways;
    for (int k = 0; k < 3; ++k) {
      ways += (k > 0 ? ", " : "") + (R"({"type": "array", "items": )" + alike + "}");
    }
    alike = R"({"anyOf": [)" + ways + "]}";
    if (alike.size() > 2'000'000) break;
  }
  const base::JsonDocument document(alike, "text");
  try {
    const auto grammar = Grammar::json_schema(document.root(), "schema");
    testing::read(grammar, "[[[[[[[[[[[[1");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
  }
  const auto spent = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(spent, std::chrono::seconds(20));
}

}  // namespace
}  // namespace upg::constrain
