// The table's rows, the template evaluator and the choice of a row against what Jinja renders
// (tests/golden/tokenizer_chat_templates.json, made by tests/oracle/tokenizer_templates.py).
#include "tokenizer/chat_template.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "tokenizer/jinja.h"
#include "tokenizer/tokenizer_testing.h"
#include "upg/error.h"

namespace upg::tokenizer {
namespace {

using base::Json;

class Golden : public ::testing::Test {
 protected:
  std::string text_ = testing::source_file("tests/golden/tokenizer_chat_templates.json");
  base::JsonDocument document_{text_, "golden"};

  std::span<const Json> list(std::string_view name) const {
    return document_.root().find(name)->as_array("golden");
  }
  static std::string text(const Json& object, std::string_view name) {
    return std::string(object.find(name)->as_string("golden"));
  }
  std::vector<std::vector<Message>> conversations() const {
    std::vector<std::vector<Message>> all;
    for (const Json& conversation : list("conversations")) {
      all.emplace_back();
      for (const Json& message : conversation.as_array("golden")) {
        all.back().push_back({text(message, "role"), text(message, "content")});
      }
    }
    return all;
  }
};

jinja::Dict variables(const std::vector<Message>& messages, bool prompt, std::string bos,
                      std::string eos) {
  jinja::List list;
  for (const Message& message : messages) {
    list.emplace_back(jinja::Dict{{"role", message.role}, {"content", message.content}});
  }
  return {{"messages", std::move(list)}, {"add_generation_prompt", prompt},
          {"bos_token", std::move(bos)}, {"eos_token", std::move(eos)},
          {"tools", jinja::None{}},      {"documents", jinja::None{}}};
}

TEST_F(Golden, TheRowOfEveryTemplate) {
  ASSERT_FALSE(text_.empty());
  for (const Json& entry : list("templates")) {
    const ChatTemplate* row = select_template(text(entry, "template"));
    const Json& expected = *entry.find("row");
    ASSERT_EQ(row == nullptr, expected.is_null()) << text(entry, "name");
    if (row == nullptr) continue;
    EXPECT_EQ(row->name, expected.as_string("golden"));
  }
}

// A hash never names another row than the renderings do.
TEST_F(Golden, PublishedTemplatesByHash) {
  int known = 0;
  for (const Json& entry : list("templates")) {
    const ChatTemplate* row = find_published_template(text(entry, "template"));
    if (row == nullptr) continue;
    EXPECT_EQ(row->name, text(entry, "row"));
    ++known;
  }
  EXPECT_EQ(known, 8);
}

// Rows and evaluator render what Jinja does, where the template does not refuse.
TEST_F(Golden, Renderings) {
  const auto conversations = this->conversations();
  int compared = 0;
  for (const Json& entry : list("templates")) {
    if (entry.find("row")->is_null()) continue;
    const std::string name = text(entry, "name");
    const ChatTemplate& row = *template_by_name(text(entry, "row"));
    const jinja::Template evaluated(text(entry, "template"));
    for (const bool prompt : {true, false}) {
      const auto rendered =
          entry.find(prompt ? "rendered" : "rendered_without_prompt")->as_array("golden");
      for (size_t i = 0; i < conversations.size(); ++i) {
        const auto found = evaluated.render(
            variables(conversations[i], prompt, std::string(row.bos), std::string(row.eos)));
        ASSERT_EQ(!found, rendered[i].is_null()) << name;
        if (!found) continue;
        EXPECT_EQ(*found, rendered[i].as_string("golden")) << name;
        // These two write the answer's opening, or a thought, where there is no prompt.
        if (!prompt && (name == "phi4_old" || name == "qwen3")) continue;
        EXPECT_EQ(row.render(conversations[i], prompt), *found) << name;
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 100);
}

TEST_F(Golden, Snippets) {
  const auto messages = conversations().at(3);
  for (const Json& entry : list("snippets")) {
    const std::string source = text(entry, "template");
    const auto found = jinja::Template(source).render(variables(messages, true, "<s>", "</s>"));
    const Json& expected = *entry.find("rendered");
    ASSERT_EQ(!found, expected.is_null()) << source;
    if (!found) continue;
    EXPECT_EQ(*found, expected.as_string("golden")) << source;
  }
}

TEST(ChatTemplate, TheBundledModel) {
  const std::string config = testing::source_file("models/books-12m/tokenizer_config.json");
  if (config.empty()) GTEST_SKIP() << "models/books-12m is not there";
  const std::string text = chat_template_text(config, "tokenizer_config.json");
  const ChatTemplate* row = select_template(text);
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->name, "phi4");
  const std::vector<Message> messages{{"user", "Hello"}};
  EXPECT_EQ(row->render(messages, true),
            "<|im_start|>user<|im_sep|>Hello<|im_end|><|im_start|>assistant<|im_sep|>");
}

TEST(ChatTemplate, Table) {
  EXPECT_NE(template_by_name("phi4"), nullptr);
  EXPECT_EQ(template_by_name("PHI4"), nullptr);
  EXPECT_TRUE(chat_template_names().starts_with("phi4, phi4-mini, chatml"));
  for (const ChatTemplate& row : chat_templates()) {
    EXPECT_EQ(template_by_name(row.name), &row);
    EXPECT_FALSE(row.stop_tokens.empty());
    const std::vector<Message> unknown{{"critic", "x"}};
    EXPECT_THROW(row.render(unknown, true), Error);
  }
  const std::vector<Message> twice{{"user", "a"}, {"user", "b"}};
  EXPECT_THROW(template_by_name("mistral")->render(twice, true), Error);
  EXPECT_EQ(template_by_name("mistral")->render({}, true), "<s>");
}

TEST(ChatTemplate, TextOfTheConfig) {
  EXPECT_EQ(chat_template_text("", "c"), "");
  EXPECT_EQ(chat_template_text("{}", "c"), "");
  EXPECT_EQ(chat_template_text(R"({"chat_template": "x"})", "c"), "x");
  EXPECT_EQ(chat_template_text(R"({"chat_template": [{"name": "rag", "template": "r"},
                                  {"name": "default", "template": "d"}]})",
                               "c"),
            "d");
  EXPECT_THROW(chat_template_text(R"({"chat_template": 3})", "c"), Error);
  EXPECT_THROW(chat_template_text(R"({"chat_template": [3]})", "c"), Error);
  EXPECT_THROW(chat_template_text("{", "c"), Error);
}

std::string error_of(const std::string& source) {
  try {
    const auto text = jinja::Template(source).render(variables({{"user", "hi"}}, true, "", ""));
    return text ? "renders " + text->substr(0, 100) : "raises";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Jinja, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("a\n\n{{ 1 | reverse }}"),
            "chat template, line 3: filter \"reverse\" is not known here (FIELD)");
  EXPECT_NE(error_of("\n{% endif %}").find("line 2"), std::string::npos);
  for (const char* source : {"{% if %}",
                             "{% if true %}",
                             "{% for x in %}",
                             "{{",
                             "{{ 'a }}",
                             "{# ",
                             "{{ a. }}",
                             "{{ a[ }}",
                             "{% set = 1 %}",
                             "{% else %}",
                             "{{ 1.5 }}",
                             "{{ 1 < 2 < 3 }}",
                             "{{ x.y.z }}",
                             "{{ 'a' + 1 }}",
                             "{{ [1] }}",
                             "{{ 1 / 2 }}",
                             "{{ 1 // 0 }}",
                             "{{ 'a'[0] }}",
                             "{{ @ }}",
                             "{% include 'x' %}",
                             "{{ strftime_now('%Y') }}",
                             "{{ namespace(a=[1]) }}",
                             "{{ f() }}",
                             "{% set a.b = 1 %}",
                             "{% for a, b in [1] %}{% endfor %}",
                             "{{ 'x' is odd }}",
                             "{{ '\\x41' }}",
                             "{{ 99999999999999999999 }}",
                             "{{ 9223372036854775807 }}"}) {
    const std::string found = error_of(source);
    EXPECT_TRUE(found.starts_with("chat template, line 1: ")) << source << ": " << found;
  }
}

TEST(Jinja, HostileTemplatesAreBounded) {
  const auto repeat = [](std::string_view text, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += text;
    return out;
  };
  const auto refused = [](const std::string& source) {
    return error_of(source).starts_with("chat template");
  };
  EXPECT_TRUE(refused("{{ " + repeat("(", 5000) + " }}"));
  EXPECT_TRUE(refused("{{ " + repeat("not ", 5000) + "1 }}"));
  EXPECT_TRUE(refused("{{ " + repeat("-", 5000) + "1 }}"));
  EXPECT_TRUE(refused("{{ 1" + repeat(" + 1", 5000) + " }}"));
  EXPECT_TRUE(refused("{{ x" + repeat(" if x else x", 5000) + " }}"));
  EXPECT_TRUE(refused("{{ x" + repeat("|trim", 5000) + " }}"));
  EXPECT_TRUE(refused(repeat("{% if 1 %}", 5000) + repeat("{% endif %}", 5000)));
  EXPECT_TRUE(refused("{% if 1 %}" + repeat("{% elif 1 %}", 5000) + "{% endif %}"));
  EXPECT_TRUE(refused(std::string(jinja::kMaxTemplateBytes + 1, 'x')));
  // Doubling text, loops in loops, an endless output.
  std::string doubling = "{% set ns = namespace(s='abcdefgh') %}";
  doubling += repeat("{% set ns.s = ns.s + ns.s %}", 40);
  EXPECT_TRUE(refused(doubling));
  const std::string ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]";
  EXPECT_TRUE(refused(repeat("{% for a in " + ten + " %}", 9) + "xxxxxxxxxxxxxxxx" +
                      repeat("{% endfor %}", 9)));
  EXPECT_TRUE(refused("{% set x = 'a' %}" +
                      repeat("{% set x = x.replace('a', 'aaaaaaaaaaaaaaaa') %}", 40)));
  EXPECT_TRUE(refused("{% set x = 1 %}" + repeat("{% set x = [x] %}", 10000)));
  EXPECT_TRUE(refused("{% set d = {} %}" + repeat("{% set d = {'a': d.get} %}", 9000)));
  std::string lists = "{% set x = " + ten + " %}";
  EXPECT_TRUE(refused(lists + repeat("{% set x = x + x %}", 40)));
}

TEST(ChatTemplate, HostileTemplatesAreUnknown) {
  EXPECT_EQ(select_template(""), nullptr);
  EXPECT_EQ(select_template(std::string(1 << 20, '{')), nullptr);
  EXPECT_EQ(select_template("{{ raise_exception('no') }}"), nullptr);
  EXPECT_EQ(select_template(std::string("{{ messages[0].content }}\0", 26)), nullptr);
}

}  // namespace
}  // namespace upg::tokenizer
