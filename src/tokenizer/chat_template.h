// How the turns of a conversation are written for a model: a table of the known ways, and which of
// them a checkpoint's own template means.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tokenizer/message.h"

namespace upg::tokenizer {

struct ChatTemplate;

// What a row is given to write: turns of system, user, assistant and what its tool format adds.
struct Turns {
  std::span<const Message> messages;
  bool add_generation_prompt = false;
  bool has_tools = false;
};

// A row of the table.
struct ChatTemplate {
  std::string_view name;         // for --chat-template
  std::string_view description;  // one line
  std::string_view bos;          // what {{ bos_token }} and {{ eos_token }} stand for
  std::string_view eos;
  std::span<const std::string_view> stop_tokens;  // end an answer; a tokenizer may lack some
  std::string (*write)(const ChatTemplate&, const Turns&);
  std::string_view tool_format = "hermes";  // a row of tool_formats.h
  std::string_view system = {};             // what it writes where there is no system turn

  // The conversation as text, special tokens written out, a BOS included where the format has one:
  // encode it with add_special = false. add_generation_prompt: up to where the assistant speaks.
  // tools_json: what tools there are, see tool_formats.h; empty: none. Throws Error(kUsage) for an
  // unknown role, an order the format cannot express, or broken tools.
  std::string render(std::span<const Message> messages, bool add_generation_prompt,
                     std::string_view tools_json = {}) const;
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
