// Scripted answers of models, cut at every place.
#include "tokenizer/tool_parser.h"

#include <gtest/gtest.h>

namespace upg::tokenizer {
namespace {

using Kind = ToolEvent::Kind;

// Events as one line: content as it is, calls as <<name|arguments>>, or <<name|arguments!>> where
// they are not whole.
std::string line_of(const std::vector<ToolEvent>& events) {
  std::string line;
  int expected = 0;
  for (const ToolEvent& event : events) {
    switch (event.kind) {
      case Kind::kContent:
        line += event.text;
        break;
      case Kind::kCallBegin:
        EXPECT_EQ(event.index, expected++);
        line += "<<" + event.text + "|";
        break;
      case Kind::kArguments:
        EXPECT_EQ(event.index, expected - 1);
        line += event.text;
        break;
      case Kind::kCallEnd:
        line += event.whole ? ">>" : "!>>";
    }
  }
  return line;
}

std::string parsed(std::string_view format, const std::vector<std::string>& names,
                   const std::vector<std::string_view>& pieces) {
  ToolCallParser parser(tool_format(format), names);
  std::vector<ToolEvent> all;
  for (const std::string_view piece : pieces) {
    for (ToolEvent& event : parser.push(piece)) all.push_back(std::move(event));
  }
  for (ToolEvent& event : parser.finish()) all.push_back(std::move(event));
  EXPECT_EQ(parser.calls(), 0);
  return line_of(all);
}

// Whole, in two pieces for every cut, and byte by byte.
void expect(std::string_view format, std::string_view text, const std::string& wanted,
            const std::vector<std::string>& names = {}) {
  EXPECT_EQ(parsed(format, names, {text}), wanted) << text;
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    EXPECT_EQ(parsed(format, names, {text.substr(0, i), text.substr(i)}), wanted) << text << i;
    bytes.push_back(text.substr(i, 1));
  }
  EXPECT_EQ(parsed(format, names, bytes), wanted) << text;
}

TEST(ToolCallParser, Phi4Mini) {
  const char* f = "phi4-mini";
  expect(f, "Just an answer, with a < and <|tool.", "Just an answer, with a < and <|tool.");
  expect(f, R"(<|tool_call|>[{"name": "weather", "arguments": {"city": "Paris"}}]<|/tool_call|>)",
         R"(<<weather|{"city": "Paris"}>>)");
  expect(f,
         R"(I look. <|tool_call|>[{"name":"a","arguments":{"x":[1,{"y":"}"}]}}, )"
         R"({"name": "b", "arguments": {}}]<|/tool_call|>)",
         R"(I look. <<a|{"x":[1,{"y":"}"}]}>><<b|{}>>)");
  expect(f, R"(<|tool_call|>{"name": "a", "parameters": {"é": "\u00e9"}}<|/tool_call|> Done.)",
         R"(<<a|{"é": "\u00e9"}>>Done.)");
  expect(f, R"(<|tool_call|>[{"name": "a"}]<|/tool_call|>)", "<<a|{}>>");
  expect(f, R"(<|tool_call|>[{"arguments": {"k": 1}, "type": "function", "name": "a"}])",
         R"(<<a|{"k": 1}>>)");
  expect(f, R"(<|tool_call|>[{"name": "a", "arguments": "{\"k\": 1}"}]<|/tool_call|>)",
         R"(<<a|{"k": 1}>>)");
}

TEST(ToolCallParser, Hermes) {
  const char* f = "hermes";
  expect(f,
         "<tool_call>\n{\"name\": \"a\", \"arguments\": {\"k\": 1}}\n</tool_call>\n<tool_call>\n"
         "{\"name\": \"b\", \"arguments\": {}}\n</tool_call>",
         R"(<<a|{"k": 1}>><<b|{}>>)");
  expect(f, "Let me see.\n<tool_call>{\"name\": \"a\", \"arguments\": {}}</tool_call>\n\nSo be it.",
         "Let me see.\n<<a|{}>>So be it.");
  expect(f, "a <b> <tool <tool_callx> <<tool_call>{\"name\":\"a\",\"arguments\":{}}",
         "a <b> <tool <tool_callx> <<<a|{}>>");
}

TEST(ToolCallParser, Llama3) {
  const char* f = "llama3";
  const std::vector<std::string> names{"weather", "now"};
  expect(f, R"({"name": "weather", "parameters": {"city": "Paris"}})",
         R"(<<weather|{"city": "Paris"}>>)", names);
  expect(f, R"(<|python_tag|>{"type": "function", "name": "now", "parameters": {}})", "<<now|{}>>");
  expect(f, R"({"name": "now", "parameters": {}}; {"name": "weather", "parameters": {"city": ""}})",
         R"(<<now|{}>><<weather|{"city": ""}>>)", names);
  expect(f, R"(  {"name": "Bob", "age": 3})", R"(  {"name": "Bob", "age": 3})", names);
  expect(f, R"({"name": "Bob", "parameters": {}})", R"({"name": "Bob", "parameters": {}})", names);
  expect(f, R"({"name": "now"})", R"({"name": "now"})", names);
  expect(f, R"(Call {"name": "now", "parameters": {}})",
         R"(Call {"name": "now", "parameters": {}})");
  expect(f, R"(<|python_tag|>search.call(query="x"))", R"(<|python_tag|>search.call(query="x"))");
}

// As small models write them who forget the marker.
TEST(ToolCallParser, CallsWithoutAMarker) {
  const std::vector<std::string> names{"weather", "now"};
  for (const char* f : {"phi4-mini", "hermes", "llama3"}) {
    expect(f, R"([{"name": "now", "arguments": {}}, {"name": "weather", "arguments": {"c": 1}}])",
           R"(<<now|{}>><<weather|{"c": 1}>>)", names);
    expect(f, R"([1] is {"name": "now", "arguments": {}})",
           R"([1] is {"name": "now", "arguments": {}})", names);
    expect(f, R"([{"name": "Bob", "arguments": {}}])", R"([{"name": "Bob", "arguments": {}}])",
           names);
    expect(f, "[[{\"name\": \"now\", \"arguments\": {}}",
           "[[{\"name\": \"now\", \"arguments\": {}}", names);
  }
}

TEST(ToolCallParser, WhatIsMalformedIsContent) {
  const char* f = "hermes";
  for (const char* text :
       {"<tool_call>", "<tool_call>\nhello", "<tool_call>{}", "<tool_call>[1]", "<tool_call>{\"a\"",
        "<tool_call>{\"name\": 3, \"arguments\": {}}", "<tool_call>{\"name\": \"\"}",
        "<tool_call>{\"arguments\": {}}", "<tool_call>{\"name\": \"a\" \"b\"",
        "<tool_call>{\"arguments\": [], \"name\": \"a\"}", "<tool_call>{'name': 'a'}",
        "<tool_call>{\"name\": \"a\", \"name\": \"b\"}", "<tool_call>{\"name\": \"a\", \"x\": 1}",
        "<tool_call>{\"name\": \"a\", \"arguments\": 3}", "<tool_call>{\"name\": \"\\ud800\"}",
        "<tool_call>{\"name\": \"a\", \"arguments\": \"[1]\"}"}) {
    expect(f, text, text);
  }
  expect(f, "<tool_call>[[{\"name\": \"a\"}]]", "<<a|{}>>");
}

// A call that broke or ended after it was begun keeps what it had.
TEST(ToolCallParser, CallsThatBreakOff) {
  const char* f = "hermes";
  expect(f, R"(<tool_call>{"name": "a", "arguments": {"k": "v)", R"(<<a|{"k": "v!>>)");
  expect(f, R"(<tool_call>{"name": "a", "arguments": {'k': 1}})", R"(<<a|{!>>'k': 1}})");
  expect(f, R"(<tool_call>{"name": "a", "arguments": {"k": 1})", R"(<<a|{"k": 1}>>)");
  expect(f, R"(<tool_call>{"name": "a", "arguments": {}, nonsense)", "<<a|{}>>nonsense");
}

TEST(ToolCallParser, ArgumentsComeAsTheyAreWritten) {
  ToolCallParser parser(tool_format("hermes"));
  EXPECT_TRUE(parser.push("<tool_call>{\"name\": \"a\", \"arguments\": ").empty());
  const auto begun = parser.push("{\"te");
  ASSERT_EQ(begun.size(), 2u);
  EXPECT_EQ(begun[0].kind, Kind::kCallBegin);
  EXPECT_EQ(begun[0].text, "a");
  EXPECT_EQ(begun[1].text, "{\"te");
  const auto more = parser.push("xt\": 1");
  ASSERT_EQ(more.size(), 1u);
  EXPECT_EQ(more[0].text, "xt\": 1");
  EXPECT_EQ(parser.calls(), 1);
}

// What the forced beginning and end of a call are, the parser understands.
TEST(ToolCallParser, ReadsForcedCalls) {
  for (const ToolFormat& f : tool_formats()) {
    std::string text = std::string(f.prefix) + std::string(f.list_open);
    for (int i = 0; i < f.max_calls && i < 2; ++i) {
      text += (i > 0 ? std::string(f.separator) : "") + std::string(f.before_name) + "\"a\"" +
              std::string(f.before_arguments) + "{\"k\": 1}" + std::string(f.after);
    }
    text += std::string(f.list_close) + std::string(f.suffix);
    expect(f.name, text, f.max_calls > 1 ? R"(<<a|{"k": 1}>><<a|{"k": 1}>>)" : R"(<<a|{"k": 1}>>)");
  }
}

}  // namespace
}  // namespace upg::tokenizer
