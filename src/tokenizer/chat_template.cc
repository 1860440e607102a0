#include "tokenizer/chat_template.h"

#include <fmt/format.h>

#include <vector>

#include "base/text.h"
#include "tokenizer/tool_formats.h"
#include "tokenizer/unicode.h"
#include "upg/error.h"

namespace upg::tokenizer {
namespace {

[[noreturn]] void refuse(const ChatTemplate& row, std::string_view what) {
  throw Error(ErrorCode::kUsage, fmt::format("chat template {}: {}", row.name, what));
}

std::string_view trimmed(std::string_view text) {
  const auto goes = [](const Char& c) {
    return c.is(kSpace) || (c.code >= 0x1c && c.code <= 0x1f);  // Python's isspace
  };
  while (!text.empty() && goes(char_at(text, 0))) text.remove_prefix(char_at(text, 0).length);
  while (!text.empty() && goes(char_before(text, text.size()))) {
    text.remove_suffix(char_before(text, text.size()).length);
  }
  return text;
}

// One turn as OPEN role MIDDLE content CLOSE.
struct Tags {
  std::string_view open;
  std::string_view middle;
  std::string_view close;
};

std::string tagged(const Tags& tags, const Turns& turns) {
  std::string out;
  for (const Message& message : turns.messages) {
    out.append(tags.open).append(message.role).append(tags.middle);
    out.append(message.content).append(tags.close);
  }
  if (turns.add_generation_prompt) out.append(tags.open).append("assistant").append(tags.middle);
  return out;
}

std::string write_phi4(const ChatTemplate&, const Turns& turns) {
  return tagged({"<|im_start|>", "<|im_sep|>", "<|im_end|>"}, turns);
}

std::string write_phi4_mini(const ChatTemplate& row, const Turns& turns) {
  std::string out = tagged({"<|", "|>", "<|end|>"}, turns);
  return turns.add_generation_prompt ? out : out.append(row.eos);
}

bool begins_with_system(std::span<const Message> messages) {
  return !messages.empty() && messages.front().role == "system";
}

std::string write_chatml(const ChatTemplate& row, const Turns& turns) {
  const Tags tags{"<|im_start|>", "\n", "<|im_end|>\n"};
  const Message standard{"system", std::string(row.system)};
  const bool adds = !row.system.empty() && !begins_with_system(turns.messages);
  return (adds ? tagged(tags, {.messages = {&standard, 1}}) : "") + tagged(tags, turns);
}

constexpr std::string_view kQwen25System =
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
constexpr std::string_view kQwen2System = "You are a helpful assistant.";

constexpr Tags kLlama3Tags{"<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"};

// What the template does to all turns but those it writes itself.
std::string llama3_turns(const Turns& turns, std::span<const Message> messages) {
  std::vector<Message> trimmed_messages(messages.begin(), messages.end());
  for (Message& message : trimmed_messages) message.content = trimmed(message.content);
  return tagged(kLlama3Tags, {trimmed_messages, turns.add_generation_prompt});
}

std::string write_llama3(const ChatTemplate& row, const Turns& turns) {
  return (turns.messages.empty() ? "" : std::string(row.bos)) + llama3_turns(turns, turns.messages);
}

// Llama 3.1 always has a system turn, which begins with two dates: the fixed ones of its template.
std::string write_llama31(const ChatTemplate& row, const Turns& turns) {
  Message system{"system", turns.has_tools ? "Environment: ipython\n" : ""};
  system.content += "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
  std::span<const Message> messages = turns.messages;
  if (begins_with_system(messages)) {
    system.content += trimmed(messages.front().content);
    messages = messages.subspan(1);
  }
  // The system turn is written as it is: its two newlines stay when nothing follows them.
  return std::string(row.bos) + tagged(kLlama3Tags, {.messages = {&system, 1}}) +
         llama3_turns(turns, messages);
}

// The ways of Mistral's instruct models: what stands around the two turns, and which user turn
// carries the system message.
struct MistralStyle {
  std::string_view user_open;
  std::string_view user_close;
  std::string_view assistant_open;
  bool system_last;  // in the last user turn, not the first
};

std::string mistral(const ChatTemplate& row, const MistralStyle& style,
                    std::span<const Message> messages) {
  std::string_view system;
  if (begins_with_system(messages)) {
    system = messages.front().content;
    messages = messages.subspan(1);
  }
  const bool has_system = system.data() != nullptr;
  std::string out(row.bos);
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role != (i % 2 == 0 ? "user" : "assistant")) {
      refuse(row, fmt::format("found {} as turn {}, allowed are user and assistant in turn",
                              messages[i].role, i + 1));
    }
    if (i % 2 == 1) {
      out.append(style.assistant_open).append(messages[i].content).append(row.eos);
      continue;
    }
    out.append(style.user_open);
    const bool carries = style.system_last ? i + 1 == messages.size() : i == 0;
    if (has_system && carries) out.append(system).append("\n\n");
    out.append(messages[i].content).append(style.user_close);
  }
  return out;
}

std::string write_mistral_v1(const ChatTemplate& row, const Turns& turns) {
  return mistral(row, {"[INST] ", " [/INST]", "", false}, turns.messages);
}

std::string write_mistral(const ChatTemplate& row, const Turns& turns) {
  return mistral(row, {" [INST] ", " [/INST]", " ", false}, turns.messages);
}

std::string write_mistral_v3(const ChatTemplate& row, const Turns& turns) {
  return mistral(row, {"[INST] ", "[/INST]", " ", true}, turns.messages);
}

constexpr std::string_view kPhi4Stops[] = {"<|im_end|>", "<|endoftext|>"};
constexpr std::string_view kPhi4MiniStops[] = {"<|end|>", "<|endoftext|>"};
constexpr std::string_view kLlama3Stops[] = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"};
constexpr std::string_view kMistralStops[] = {"</s>"};

constexpr ChatTemplate kRows[] = {
    {"phi4", "Phi-4: <|im_start|>user<|im_sep|>...<|im_end|>", "<|endoftext|>", "<|im_end|>",
     kPhi4Stops, write_phi4},
    {"phi4-mini", "Phi-4-mini: <|user|>...<|end|>", "<|endoftext|>", "<|endoftext|>",
     kPhi4MiniStops, write_phi4_mini, "phi4-mini"},
    {"chatml", "ChatML: <|im_start|>user, newline, ...<|im_end|>", "<bos>", "<|im_end|>",
     kPhi4Stops, write_chatml},
    {"qwen", "Qwen 2.5: ChatML with its own system turn", "<bos>", "<|im_end|>", kPhi4Stops,
     write_chatml, "hermes", kQwen25System},
    {"qwen2", "Qwen 2: ChatML with its own system turn", "<bos>", "<|im_end|>", kPhi4Stops,
     write_chatml, "hermes", kQwen2System},
    {"llama3", "Llama 3: <|start_header_id|>user<|end_header_id|>...<|eot_id|>",
     "<|begin_of_text|>", "<|eot_id|>", kLlama3Stops, write_llama3},
    {"llama3.1", "Llama 3.1: Llama 3 with dates in the system turn", "<|begin_of_text|>",
     "<|eot_id|>", kLlama3Stops, write_llama31, "llama3"},
    {"mistral", "Mistral 7B: ' [INST] ... [/INST] ...</s>'", "<s>", "</s>", kMistralStops,
     write_mistral},
    {"mistral-v1", "Mistral 7B, the first: '[INST] ... [/INST]...</s>'", "<s>", "</s>",
     kMistralStops, write_mistral_v1},
    {"mistral-v3", "Mistral 7B v0.3: '[INST] ...[/INST] ...</s>'", "<s>", "</s>", kMistralStops,
     write_mistral_v3},
};

}  // namespace

std::string ChatTemplate::render(std::span<const Message> messages, bool add_generation_prompt,
                                 std::string_view tools_json) const {
  std::vector<Message> turns(messages.begin(), messages.end());
  bool about_tools = !tools_json.empty();
  for (Message& message : turns) {
    if (message.role == "developer") message.role = "system";
    const bool result = message.role == "tool";
    if (!result && message.role != "system" && message.role != "user" &&
        message.role != "assistant") {
      refuse(*this, fmt::format("found role \"{}\", allowed are system, developer, user, "
                                "assistant, tool",
                                base::printable(message.role)));
    }
    about_tools = about_tools || result || !message.tool_calls.empty();
  }
  if (!about_tools) return write(*this, {turns, add_generation_prompt});
  const PlainTurns plain =
      plain_turns(tokenizer::tool_format(tool_format), turns, tools_json, system);
  return write(*this, {plain.messages, add_generation_prompt, plain.has_tools});
}

std::span<const ChatTemplate> chat_templates() noexcept { return kRows; }

std::string chat_template_names() {
  std::string names;
  for (const ChatTemplate& row : kRows) {
    if (!names.empty()) names += ", ";
    names += row.name;
  }
  return names;
}

const ChatTemplate* template_by_name(std::string_view name) noexcept {
  for (const ChatTemplate& row : kRows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace upg::tokenizer
