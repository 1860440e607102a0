// How the turns of a conversation are written for a model: a table of the known ways, and which of
// them a checkpoint's own template means.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace upg::tokenizer {

struct Message {
  std::string role;  // system, user, assistant
  std::string content;
};

// A row of the table.
struct ChatTemplate {
  std::string_view name;         // for --chat-template
  std::string_view description;  // one line
  std::string_view bos;          // what {{ bos_token }} and {{ eos_token }} stand for
  std::string_view eos;
  std::span<const std::string_view> stop_tokens;  // end an answer; a tokenizer may lack some
  std::string (*write)(const ChatTemplate&, std::span<const Message>, bool);

  // The conversation as text, special tokens written out, a BOS included where the format has one:
  // encode it with add_special = false. add_generation_prompt: up to where the assistant speaks.
  // Throws Error(kUsage) for a role other than the three, or an order the format cannot express.
  std::string render(std::span<const Message> messages, bool add_generation_prompt) const;
};

std::span<const ChatTemplate> chat_templates() noexcept;
std::string chat_template_names();                                     // "phi4, phi4-mini, ..."
const ChatTemplate* template_by_name(std::string_view name) noexcept;  // nullptr: no such row

// The row that writes what `template_text` (Jinja) writes: by its hash, else by running it on probe
// conversations. nullptr when no row does, or the template cannot be run here: then chat needs a
// name. Never throws for what is in the text; bounded in time and memory.
const ChatTemplate* select_template(std::string_view template_text);
// The first half of that: nullptr when the text is none of those whose hash is known.
const ChatTemplate* find_published_template(std::string_view template_text) noexcept;

// "chat_template" of a tokenizer_config.json: its text, the one named "default" of several, or
// empty. Throws Error(kInvalidData), naming `file`, for broken JSON and other kinds of value.
std::string chat_template_text(std::string_view config_json, std::string_view file);

}  // namespace upg::tokenizer
