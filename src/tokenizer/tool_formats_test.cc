// Conversations with tools as their models were shown them.
#include "tokenizer/tool_formats.h"

#include <gtest/gtest.h>

#include "tokenizer/chat_template.h"
#include "upg/error.h"

namespace upg::tokenizer {
namespace {

constexpr std::string_view kTools =
    R"([{"type":"function","function":{"name":"weather","description":"What it is like outside",
        "parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}])";

const std::vector<Message>& conversation() {
  static const std::vector<Message> turns{
      {"system", "Be brief."},
      {"user", "Weather in Paris and Rome?"},
      {"assistant", "", {{"1", "weather", R"({"city": "Paris"})"}}},
      {"tool", R"({"sky": "grey"})", {}, "1"},
      {"assistant", "Grey in Paris."}};
  return turns;
}

std::string rendered(std::string_view row, const std::vector<Message>& messages,
                     std::string_view tools) {
  return template_by_name(row)->render(messages, true, tools);
}

TEST(ToolFormats, EveryTemplateHasOne) {
  for (const ChatTemplate& row : chat_templates()) {
    EXPECT_EQ(tool_format(row.tool_format).name, row.tool_format);
  }
  for (const ToolFormat& row : tool_formats()) {
    EXPECT_EQ(&tool_format(row.name), &row);
    // What the parser of answers relies on.
    EXPECT_EQ(row.open.find_last_of('<'), 0u);
    EXPECT_TRUE(row.close.empty() || row.close.find_last_of('<') == 0);
    EXPECT_FALSE(row.open.starts_with(row.close) && !row.close.empty());
  }
}

TEST(ToolFormats, Phi4Mini) {
  EXPECT_EQ(
      rendered("phi4-mini", conversation(), kTools),
      "<|system|>Be brief.<|tool|>[{\"name\": \"weather\", \"description\": \"What it is like "
      "outside\", \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": "
      "\"string\"}}}}]<|/tool|><|end|><|user|>Weather in Paris and Rome?<|end|><|assistant|>"
      "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}]<|/tool_call|>"
      "<|end|><|tool_response|>{\"sky\": \"grey\"}<|end|><|assistant|>Grey in Paris.<|end|>"
      "<|assistant|>");
  const std::vector<Message> two{
      {"user", "x"}, {"assistant", "Both.", {{"1", "a", ""}, {"2", "b", R"({"k":1})"}}}};
  EXPECT_EQ(
      rendered("phi4-mini", two, R"([{"name": "a"}, {"name": "b"}])"),
      "<|system|><|tool|>[{\"name\": \"a\"}, {\"name\": \"b\"}]<|/tool|><|end|><|user|>x<|end|>"
      "<|assistant|>Both.<|tool_call|>[{\"name\": \"a\", \"arguments\": {}}, {\"name\": \"b\", "
      "\"arguments\": {\"k\":1}}]<|/tool_call|><|end|><|assistant|>");
}

TEST(ToolFormats, Llama31) {
  EXPECT_EQ(
      rendered("llama3.1", conversation(), kTools),
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nEnvironment: "
      "ipython\nCutting "
      "Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|>"
      "<|start_header_id|>user<|end_header_id|>\n\nGiven the following functions, please respond "
      "with a JSON for a function call with its proper arguments that best answers the given "
      "prompt.\n\nRespond in the format {\"name\": function name, \"parameters\": dictionary of "
      "argument name and its value}.Do not use variables.\n\n{\n    \"type\": \"function\",\n    "
      "\"function\": {\n        \"name\": \"weather\",\n        \"description\": \"What it is like "
      "outside\",\n        \"parameters\": {\n            \"type\": \"object\",\n            "
      "\"properties\": {\n                \"city\": {\n                    \"type\": \"string\"\n"
      "                }\n            }\n        }\n    }\n}\n\nWeather in Paris and "
      "Rome?<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\n{\"name\": \"weather\", \"parameters\": "
      "{\"city\": \"Paris\"}}<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n"
      "\"{\\\"sky\\\": \\\"grey\\\"}\"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
      "Grey in Paris.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
  const std::vector<Message> no_user{{"assistant", "x"}};
  EXPECT_THROW(rendered("llama3.1", no_user, kTools), Error);
}

constexpr std::string_view kHermesTools =
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are "
    "provided with function signatures within <tools></tools> XML tags:\n<tools>\n{\"type\": "
    "\"function\", \"function\": {\"name\": \"weather\", \"description\": \"What it is like "
    "outside\", \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": "
    "\"string\"}}}}}\n</tools>\n\nFor each function call, return a json object with function name "
    "and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": "
    "<function-name>, \"arguments\": <args-json-object>}\n</tool_call>";

TEST(ToolFormats, Hermes) {
  EXPECT_EQ(rendered("qwen", conversation(), kTools),
            "<|im_start|>system\nBe brief.\n\n" + std::string(kHermesTools) +
                "<|im_end|>\n<|im_start|>user\nWeather in Paris and Rome?<|im_end|>\n<|im_start|>"
                "assistant\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": "
                "\"Paris\"}}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\n{\"sky\": "
                "\"grey\"}\n</tool_response><|im_end|>\n<|im_start|>assistant\nGrey in Paris."
                "<|im_end|>\n<|im_start|>assistant\n");
  const std::vector<Message> results{{"user", "x"}, {"tool", "1"}, {"tool", "2"}};
  EXPECT_EQ(rendered("qwen", results, ""),
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
            "assistant.<|im_end|>\n<|im_start|>user\nx<|im_end|>\n<|im_start|>user\n"
            "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
            "<|im_start|>assistant\n");
  const std::vector<Message> question{{"user", "x"}};
  EXPECT_EQ(rendered("phi4", question, kTools),
            "<|im_start|>system<|im_sep|>" + std::string(kHermesTools) +
                "<|im_end|><|im_start|>user<|im_sep|>x<|im_end|><|im_start|>assistant<|im_sep|>");
}

TEST(ToolFormats, EveryTemplateWritesThem) {
  const std::vector<Message> up_to_result(conversation().begin(), conversation().end() - 1);
  for (const ChatTemplate& row : chat_templates()) {
    const std::string text = row.render(up_to_result, true, kTools);
    for (const char* part : {"\"weather\"", "Be brief.", "Paris", "grey"}) {
      EXPECT_NE(text.find(part), std::string::npos) << row.name << ": " << part;
    }
  }
}

TEST(ToolFormats, NoToolsChangeNothing) {
  const std::vector<Message> plain{{"system", "s"}, {"user", "u"}};
  const std::vector<Message> developer{{"developer", "s"}, {"user", "u"}};
  for (const ChatTemplate& row : chat_templates()) {
    EXPECT_EQ(row.render(plain, true, "[]"), row.render(plain, true)) << row.name;
    EXPECT_EQ(row.render(developer, true), row.render(plain, true)) << row.name;
  }
}

TEST(ToolFormats, BrokenTools) {
  const std::vector<Message> question{{"user", "x"}};
  const auto error_of = [&](std::string_view tools) -> std::string {
    try {
      rendered("phi4", question, tools);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(error_of("{}"), "tools: found an object of 0, allowed is a list");
  EXPECT_EQ(error_of("[3]"), "tools[0]: found 3, allowed is an object");
  EXPECT_EQ(error_of(R"([{"function": {"name": ""}}])"),
            "tools[0].function.name: found \"\", allowed is a name");
  EXPECT_EQ(error_of("[{}]"), "tools[0].name: found nothing, allowed is a name");
  EXPECT_NE(error_of("["), "");
}

}  // namespace
}  // namespace upg::tokenizer
