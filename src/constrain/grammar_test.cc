// Which texts grammars allow.
#include "constrain/grammar.h"

#include <gtest/gtest.h>

#include "constrain/constrain_testing.h"
#include "upg/error.h"

namespace upg::constrain {
namespace {

using testing::read;
using testing::schema_grammar;
using testing::Verdict;

void expect(const std::shared_ptr<const Grammar>& grammar, const std::vector<std::string>& allowed,
            const std::vector<std::string>& refused) {
  for (const std::string& text : allowed) EXPECT_EQ(read(grammar, text), Verdict::kWhole) << text;
  for (const std::string& text : refused) EXPECT_EQ(read(grammar, text), Verdict::kNo) << text;
}

void expect(std::string_view schema, const std::vector<std::string>& allowed,
            const std::vector<std::string>& refused) {
  expect(schema_grammar(schema), allowed, refused);
}

TEST(JsonObject, AnyObjectAndNothingElse) {
  expect(Grammar::json_object(),
         {"{}", "{ }", R"({"a":1})", R"({"a": [1, {"b": []}, "x", true, null, -0.5e+10]})",
          "{\n  \"a\": \"\\u00e9\\ud83d\\ude00\\n\"\n}", R"({"é": "日本"})"},
         {"[]",
          "1",
          " {}",
          "{}}",
          "{} ",
          "{,",
          R"({"a"})",
          R"({"a":1,})",
          R"({"a":01)",
          R"({"a":1.})",
          R"({"a":tru})",
          "{\"\n",
          R"({"a":"\x)",
          R"({"a":"\ud800")",
          "{\"\xff",
          "{\"\xc0\x80",
          "{\"\xed\xa0\x80",
          "{\n\n",
          "{  ",
          R"({"a":1e100)"});
  EXPECT_EQ(read(Grammar::json_object(), R"({"a": [)"), Verdict::kBeginning);
}

TEST(JsonObject, NestingEndsAt64Levels) {
  const auto nested = [](int depth) {
    std::string text = "{\"a\":";
    for (int i = 1; i < depth; ++i) text += '[';
    for (int i = 1; i < depth; ++i) text += ']';
    return text + "}";
  };
  const auto grammar = Grammar::json_object();
  EXPECT_EQ(read(grammar, nested(63)), Verdict::kWhole);
  EXPECT_EQ(read(grammar, nested(70)), Verdict::kNo);
}

TEST(Schema, Scalars) {
  expect(R"({"type": "string"})", {R"("")", R"("a\"b")", R"("\/")"}, {"1", "\"\t", R"("\a")"});
  expect(R"({"type": "boolean"})", {"true", "false"}, {"null", "True"});
  expect(R"({"type": "null"})", {"null"}, {"nil"});
  expect(R"({"type": "integer"})", {"0", "-7", "123456789012345678"},
         {"-0", "01", "1.0", "1e3", "1234567890123456789"});
  expect(R"({"type": "number"})", {"0", "-0.5", "12.25", "1e5", "1E-05"}, {".5", "+1", "1e+100"});
  expect(R"({"type": ["string", "null"]})", {"\"x\"", "null"}, {"1"});
  expect(R"({"type": "string", "nullable": true})", {"\"x\"", "null"}, {"1"});
  expect("true", {"1", "{}", "[[]]"}, {"}"});
  expect("{}", {"1", "\"a\""}, {"}"});
}

TEST(Schema, NumbersBetweenBounds) {
  expect(R"({"type": "integer", "minimum": 0})", {"0", "9", "100"}, {"-", "00"});
  expect(R"({"type": "integer", "minimum": 18, "maximum": 120})", {"18", "99", "100", "120"},
         {"17", "121", "130", "2000", "-1"});
  EXPECT_EQ(read(schema_grammar(R"({"type": "integer", "minimum": 18})"), "1"),
            Verdict::kBeginning);
  expect(R"({"type": "integer", "exclusiveMinimum": -12, "exclusiveMaximum": 3})",
         {"-11", "-1", "0", "2"}, {"-12", "-13", "3", "-0", "12"});
  expect(R"({"type": "integer", "maximum": -5})", {"-5", "-6", "-100"}, {"0", "5", "-0"});
  expect(R"({"type": "integer", "minimum": 0.5, "maximum": 3.5})", {"1", "3"}, {"4", "0"});
  expect(R"({"type": "number", "minimum": 0, "maximum": 1})",
         {"0", "1", "0.5", "1.0", "0.99999999999999"}, {"1.1", "2", "1.01", "-", "1e0", "10"});
  expect(R"({"type": "number", "exclusiveMinimum": 0, "maximum": 0.25})",
         {"0.25", "0.1", "0.250", "0.001"}, {"0.26", "0.251", "1", "0.3"});
  EXPECT_EQ(read(schema_grammar(R"({"type": "number", "exclusiveMinimum": 0})"), "0.0"),
            Verdict::kBeginning);
  expect(R"({"type": "number", "minimum": -2.5, "maximum": -1.5})", {"-2", "-1.5", "-2.5", "-2.49"},
         {"-2.6", "-3", "1", "-1.4", "0"});
  expect(R"({"type": "number", "minimum": 1e-7, "maximum": 1e-6})", {"0.0000001", "0.0000005"},
         {"0.000002", "1"});
  EXPECT_THROW(schema_grammar(R"({"type": "integer", "minimum": 5, "maximum": 4})"), Error);
  EXPECT_THROW(schema_grammar(R"({"type": "integer", "exclusiveMinimum": 4,
                                  "exclusiveMaximum": 5})"),
               Error);
}

TEST(Schema, Strings) {
  expect(R"({"type": "string", "minLength": 1, "maxLength": 3})",
         {R"("a")", R"("日本é")", R"("\ud83d\ude00\n")"}, {R"("")", R"("abcd)", R"("日本éx)"});
  expect(R"({"type": "string", "pattern": "^[a-c]+-\\d{2}$"})", {R"("abc-01")"},
         {R"("-01)", R"("d)", R"("a-012)"});
  expect(R"({"type": "string", "pattern": "b"})", {R"("b")", R"("abc")"}, {R"("ac")"});
  expect(R"({"type": "string", "pattern": "^(yes|no)$|^[^\\x00-\\x7f]$"})",
         {R"("yes")", R"("no")", R"("é")", R"("😀")"}, {R"("x)", R"("nope)", R"("éé)"});
  expect(R"({"type": "string", "pattern": "^\\\\\"\\n.$"})", {R"("\\\"\nx")"}, {R"("\\\"\n\n)"});
  expect(R"({"type": "string", "pattern": "^(?:a(?<n>b)?){2,}?$"})", {R"("aa")", R"("abaab")"},
         {R"("a")", R"("b)"});
  expect(R"({"type": "string", "pattern": "^\\S\\D\\W$"})", {R"("é日!")"}, {R"(" )", R"("a1)"});
}

TEST(Schema, PatternsWithLengths) {
  expect(R"({"type": "string", "pattern": "^[a-z]+$", "maxLength": 3})", {R"("a")", R"("abc")"},
         {R"("")", R"("abcd)"});
  expect(R"({"type": "string", "pattern": "^id-[0-9]*yy$", "minLength": 6, "maxLength": 7})",
         {R"("id-1yy")", R"("id-12yy")"}, {R"("id-yy)", R"("id-123)"});
  expect(R"({"type": "string", "pattern": "^(ab|cd)$", "minLength": 2, "maxLength": 2})",
         {R"("ab")"}, {R"("abc)"});
  expect(R"({"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083})",
         {R"("https://example.org/")"}, {R"("x")"});
  expect(R"({"anyOf": [{"type": "null"}, {"pattern": "^a{4,}$", "maxLength": 3}]})", {"null"},
         {"\""});
}

TEST(Schema, Formats) {
  const auto format = [](const std::string& name) {
    return R"({"type": "string", "format": ")" + name + R"("})";
  };
  expect(format("date"), {R"("2024-02-29")", R"("1999-12-31")", R"("2000-02-29")"},
         {R"("2023-02-29)", R"("2024-13)", R"("2024-04-31)", R"("1900-02-29)", R"("0)"});
  expect(format("date-time"), {R"("2024-02-29T23:59:59Z")", R"("2024-01-01T00:00:00.5+01:30")"},
         {R"("2024-01-01T24)", R"("2024-01-01 )"});
  expect(format("time"), {R"("12:30:00Z")"}, {R"("12:60)"});
  expect(format("uuid"), {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567e)"});
  expect(format("ipv4"), {R"("255.0.10.1")"}, {R"("256)", R"("01)"});
  expect(format("ipv6"), {R"("::1")", R"("2001:db8::ff00:42:8329")", R"("1:2:3:4:5:6:7:8")"},
         {R"("1:::)", R"("g)"});
  expect(format("email"), {R"("a.b@mail.example.org")"}, {R"("a@@)", R"("@)", R"("a@b")"});
  expect(format("hostname"), {R"("example.org")"}, {R"("-a)"});
  expect(format("uri"), {R"("https://example.org/a?b=c#d")"}, {R"("//)", R"("1:)"});
  expect(format("duration"), {R"("P3W")", R"("P1Y2M3DT4H5M6S")", R"("PT5M")", R"("P2D")"},
         {R"("P")", R"("PT")", R"("3)"});
  expect(format("currency-code"), {R"("anything at all")"}, {"1"});
}

TEST(Schema, EnumAndConst) {
  expect(R"({"enum": ["red", "re", "blue", 1, 2.5, true, null, {"a": [1, "x"]}]})",
         {R"("red")", R"("re")", R"("blue")", "1", "2.5", "true", "null", R"({"a": [1, "x"]})",
          R"({"a":[1,"x"]})"},
         {R"("r")", R"("reds)", "3", "false", R"({"a":2)", R"({"b)"});
  expect(R"({"type": "string", "enum": ["a", 1]})", {"\"a\""}, {"1"});
  expect(R"({"const": "a", "enum": ["a"], "type": "string"})", {"\"a\""}, {"\"b"});
  expect(R"({"const": "a\n\"b\" é"})", {R"("a\n\"b\" é")"}, {R"("a\n\"b\" \u)"});
}

TEST(Schema, Objects) {
  const char* person = R"({"type": "object", "title": "Person", "required": ["name", "age"],
      "properties": {"name": {"type": "string"}, "nick": {"type": "string"},
                     "age": {"type": "integer"}, "tags": {"type": "array",
                     "items": {"type": "string"}}}, "additionalProperties": false})";
  expect(person,
         {R"({"name": "x", "age": 3})", R"({"name":"x","nick":"y","age":3,"tags":[]})",
          "{\n  \"name\": \"x\",\n  \"age\": 3\n}"},
         {"{}", R"({"name":"x"})", R"({"age)", R"({"name":"x","tags)", R"({"name":"x","age":3,"n)",
          R"({"name":"x","age":3,})", R"({"name":"x","age":3,"tags":[],)", R"({"name":1)"});
  expect(R"({"type": "object", "properties": {}})", {"{}", "{ }"}, {R"({"a)"});
  expect(R"({"type": "object"})", {"{}", R"({"a": 1, "b": {}})"}, {"[", R"({"a": 1,})"});
  expect(R"({"type": "object", "additionalProperties": false})", {"{}"}, {R"({")"});
  expect(R"({"type": "object", "additionalProperties": {"type": "integer"}})",
         {"{}", R"({"a": 1, "b": 2})"}, {R"({"a": "x)"});
  expect(R"({"properties": {"a": {"type": "null"}}})", {"{}", R"({"a": null})"}, {"1"});
  expect(R"({"required": ["x"]})", {R"({"x": [1]})"}, {"{}", R"({"y)"});
}

TEST(Schema, NamesOfMembers) {
  expect(R"({"$defs": {"K": {"enum": ["a", "b"]}}, "type": "object",
             "propertyNames": {"$ref": "#/$defs/K"}, "additionalProperties": {"type": "integer"}})",
         {"{}", R"({"a": 1, "b": 2})"}, {R"({"c)", R"({"a": ")"});
  expect(R"({"propertyNames": {"pattern": "^x+$"}})", {R"({"xx": [1]})"}, {R"({"y)"});
  expect(R"({"type": "object", "propertyNames": true})", {R"({"y": 1})"}, {"[", "{1"});
  expect(R"({"type": "object", "propertyNames": false})", {"{}"}, {"{\""});
}

TEST(Schema, OtherMembersAreNotTheNamedOnes) {
  expect(R"({"type": "object", "properties": {"ab": {"type": "integer"},
             "aé": {"type": "integer"}, "é": {"type": "integer"}, "": {"type": "integer"}},
             "additionalProperties": {"type": "string"}})",
         {R"({"ab": 1})", R"({"a": "x"})", R"({"abc": "x"})", R"({"ab": 1, "aè": "x", "b": "y"})",
          R"({"aéé": "x"})", R"({"": 1})", R"({"日": "x"})", R"({"aé": 2, "éa": "x"})"},
         {R"({"ab": "x)", R"({"aé": "x)", R"({"é": "x)", R"({"": "x)", R"({"\u)",
          R"({"a": "x", "ab")"});
}

TEST(Schema, Arrays) {
  expect(R"({"type": "array", "items": {"type": "integer"}})",
         {"[]", "[1]", "[1, 2,3]", "[\n  1\n]"}, {"[,", "[1,]", "[\"", "[1 2"});
  expect(R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2})",
         {"[1]", "[1,2]"}, {"[]", "[1,2,"});
  expect(R"({"type": "array", "minItems": 2, "items": {"type": "null"}})",
         {"[null,null]", "[null,null,null]"}, {"[null]", "[]"});
  expect(R"({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}],
             "items": false})",
         {"[]", "[\"a\"]", "[\"a\", 1]"}, {"[1", "[\"a\",\"", "[\"a\",1,"});
  expect(R"({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "null"},
             "minItems": 2, "maxItems": 3})",
         {"[\"a\",null]", "[\"a\",null,null]"}, {"[\"a\"]", "[\"a\",null,null,"});
  expect(R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1"});
  expect(R"({"type": "array", "items": false})", {"[]"}, {"[1"});
}

TEST(Schema, AlternativesAndReferences) {
  expect(R"({"anyOf": [{"type": "string"}, {"type": "object", "properties":
             {"a": {"type": "integer"}}, "required": ["a"]}, {"type": "object", "properties":
             {"a": {"type": "string"}}, "required": ["a"]}]})",
         {"\"x\"", R"({"a":1})", R"({"a":"x"})"}, {"{}", R"({"a":n)"});
  expect(R"({"$defs": {"Node": {"type": "object", "properties": {"value": {"type": "integer"},
             "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
             "required": ["value", "next"]}}, "$ref": "#/$defs/Node"})",
         {R"({"value":1,"next":null})", R"({"value":1,"next":{"value":2,"next":null}})"},
         {R"({"value":1})", R"({"value":1,"next":{})"});
  expect(R"({"type": "object", "properties": {"children": {"type": "array",
             "items": {"$ref": "#"}}}, "required": ["children"]})",
         {R"({"children":[]})", R"({"children":[{"children":[]}]})"}, {"{}"});
  expect(R"({"definitions": {"a/b~": {"type": "null"}}, "allOf": [{"$ref":
             "#/definitions/a~1b~0"}]})",
         {"null"}, {"1"});
  expect(R"({"type": "object", "properties": {"x": {"type": "integer"},
             "y": {"$ref": "#/properties/x", "description": "as x"}}, "required": ["x", "y"]})",
         {R"({"x":1,"y":2})"}, {R"({"x":1,"y":")"});
  // A loop without a value between is only another way to say the same.
  expect(R"({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}},
             "$ref": "#/$defs/a"})",
         {"null"}, {"1"});
}

TEST(Schema, PartsWithoutAValueAreNeverBegun) {
  const char* schema = R"({"$defs": {"endless": {"type": "object", "required": ["e"],
      "properties": {"e": {"$ref": "#/$defs/endless"}}}},
      "anyOf": [{"$ref": "#/$defs/endless"}, {"type": "array", "items": {"$ref": "#/$defs/endless"}},
                {"type": "integer", "minimum": 3, "maximum": 2}]})";
  expect(schema, {"[]"}, {"{", "[{", "3", "2"});
}

TEST(ToolCall, WritesTheCallsOfTheFormat) {
  const base::JsonDocument weather(R"({"type": "object", "properties": {"city":
      {"type": "string"}}, "required": ["city"]})",
                                   "schema");
  const std::vector<Tool> tools{{"weather", &weather.root(), "tools[0]"}, {"now"}};
  ToolCallText text{R"({"name": )", R"(, "arguments": )", "}", "[", ", ", "]", 1};
  expect(Grammar::tool_calls(tools, text),
         {R"([{"name": "weather", "arguments": {"city": "Paris"}}])",
          R"([{"name": "now", "arguments": {"any": 1}}])"},
         {R"({)", R"([{"name": "x)", R"([{"name": "weather", "arguments": {})",
          R"([{"name": "now", "arguments": {}},)"});
  const base::JsonDocument empty("{}", "schema");
  const std::vector<Tool> loose{{"any", &empty.root(), "tools[0]"}};
  expect(Grammar::tool_calls(loose, text), {R"([{"name": "any", "arguments": {}}])"},
         {R"([{"name": "any", "arguments": 1)"});
  text.max_calls = 2;
  expect(Grammar::tool_calls(tools, text),
         {R"([{"name": "now", "arguments": {}}])",
          R"([{"name": "now", "arguments": {}}, {"name": "weather", "arguments": {"city": ""}}])"},
         {R"([{"name": "now", "arguments": {}}, {"name": "now", "arguments": {}},)"});
}

}  // namespace
}  // namespace upg::constrain
