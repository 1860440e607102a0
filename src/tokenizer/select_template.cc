// Which row of the table a checkpoint's own chat template means.
#include <cstdint>
#include <vector>

#include "base/json.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/jinja.h"
#include "tokenizer/load_fields.h"

namespace upg::tokenizer {
namespace {

struct KnownText {
  uint64_t hash;
  std::string_view name;
};

// FNV-1a of templates as they are published.
constexpr KnownText kKnownTexts[] = {
    {0x9acdd6b945e8e7f9u, "phi4"},       {0xd6a2d985b28ca308u, "phi4-mini"},
    {0x88bf4138d5c826f0u, "chatml"},     {0xc2b27ee60f1b8775u, "qwen"},
    {0x0e60067a5537498eu, "llama3"},     {0xe546c8a3e5e704c2u, "llama3.1"},
    {0x8c734b90b4f8d84du, "mistral-v1"}, {0x0c051caea98006c5u, "mistral"},
};

constexpr uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}

// Conversations that tell the rows apart: with and without a system turn, white space around the
// contents (which some trim), text that looks like markup.
const std::vector<std::vector<Message>>& probes() {
  static const Message system{"system", " Answer in\n\nrhymes. "};
  static const Message user{"user", " Who {{are}} you?\n"};
  static const Message assistant{"assistant", "\n A 'probe' & <b>no</b> more. "};
  static const Message again{"user", "Grüße, 日本\t"};
  static const std::vector<std::vector<Message>> all{{user},
                                                     {user, assistant, again},
                                                     {user, assistant, again, assistant, user},
                                                     {system, user},
                                                     {system, user, assistant, again}};
  return all;
}

jinja::Dict variables(const ChatTemplate& row, const std::vector<Message>& messages) {
  jinja::List list;
  for (const Message& message : messages) {
    list.emplace_back(jinja::Dict{{"role", message.role}, {"content", message.content}});
  }
  return {{"messages", std::move(list)},
          {"add_generation_prompt", true},
          {"bos_token", std::string(row.bos)},
          {"eos_token", std::string(row.eos)},
          {"tools", jinja::None{}},
          {"documents", jinja::None{}}};
}

// A template may refuse system turns (raise_exception); the row then says what becomes of them.
bool writes_the_same(const ChatTemplate& row, const jinja::Template& text) {
  for (const std::vector<Message>& probe : probes()) {
    const auto found = text.render(variables(row, probe));
    const bool refused = !found && probe.front().role == "system";
    if (!refused && found != row.render(probe, true)) return false;
  }
  return true;
}

}  // namespace

const ChatTemplate* find_published_template(std::string_view template_text) noexcept {
  const uint64_t hash = fnv1a(template_text);
  for (const KnownText& known : kKnownTexts) {
    if (known.hash == hash) return template_by_name(known.name);
  }
  return nullptr;
}

const ChatTemplate* select_template(std::string_view template_text) {
  if (const ChatTemplate* published = find_published_template(template_text)) return published;
  try {
    const jinja::Template text(template_text);
    for (const ChatTemplate& row : chat_templates()) {
      if (writes_the_same(row, text)) return &row;
    }
  } catch (const Error&) {
    // Not a template that can be run here: unknown.
  }
  return nullptr;
}

std::string chat_template_text(std::string_view config_json, std::string_view file_name) {
  if (config_json.empty()) return {};
  const std::string file = base::printable(file_name);
  const base::JsonDocument document(config_json, file);
  const base::Json* found = find_set(document.root(), "chat_template");
  if (found == nullptr) return {};
  const std::string where = join_field(file, "chat_template");
  if (!found->is_array()) return std::string(found->as_string(where));
  for (const base::Json& item : found->as_array(where)) {
    if (text_field(item, "name", where) == "default") {
      return std::string(text_field(item, "template", where));
    }
  }
  return {};
}

}  // namespace upg::tokenizer
