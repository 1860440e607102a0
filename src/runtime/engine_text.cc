#include "runtime/engine_text.h"

#include <fmt/format.h>

#include <utility>

#include "base/text.h"

namespace upg::runtime {
namespace {

const tokenizer::ChatTemplate* find_template(const model::ModelSource& source) {
  if (!source.chat_template_text().empty()) {
    return tokenizer::select_template(source.chat_template_text());
  }
  if (source.tokenizer_config_text().empty()) return nullptr;
  return tokenizer::select_template(tokenizer::chat_template_text(
      source.tokenizer_config_text(), part_name(source, "tokenizer_config.json")));
}

}  // namespace

std::string part_name(const model::ModelSource& source, std::string_view part) {
  const bool folder = source.profile() == "checkpoint";
  return fmt::format("{}{}{}", base::printable(source.path().string()), folder ? "/" : ": ", part);
}

std::unique_ptr<const Text> Text::load(const model::ModelSource& source) {
  const std::string_view json = source.tokenizer_text();
  if (json.empty()) return nullptr;
  auto tokenizer = tokenizer::Tokenizer::load(json, source.tokenizer_config_text(),
                                              part_name(source, "tokenizer.json"));
  if (tokenizer.vocab_size() > source.config().vocabulary) {
    throw Error(
        ErrorCode::kInvalidData,
        fmt::format("{}: its largest id is {}, allowed are ids below the model's vocabulary "
                    "of {} (MISMATCH)",
                    part_name(source, "tokenizer.json"), tokenizer.vocab_size() - 1,
                    source.config().vocabulary));
  }
  return std::unique_ptr<const Text>(new Text(std::move(tokenizer), find_template(source)));
}

std::vector<int32_t> Text::stop_ids() const {
  std::vector<int32_t> ids;
  if (chat_template_ == nullptr) return ids;
  for (const std::string_view token : chat_template_->stop_tokens) {
    if (const auto id = tokenizer_.id_of(token)) ids.push_back(*id);
  }
  return ids;
}

std::string apply_chat_template(const tokenizer::ChatTemplate* own, std::string_view template_name,
                                std::span<const ChatMessage> messages, std::string_view tools_json,
                                std::string_view file) {
  const tokenizer::ChatTemplate* row =
      template_name.empty() ? own : tokenizer::template_by_name(template_name);
  if (row == nullptr && template_name.empty()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{}: its chat template is unknown; choose one of {}",
                            base::printable(file), tokenizer::chat_template_names()));
  }
  if (row == nullptr) {
    throw Error(ErrorCode::kUsage,
                fmt::format("chat template: found {}, allowed {}", base::printable(template_name),
                            tokenizer::chat_template_names()));
  }
  std::vector<tokenizer::Message> turns;
  for (const ChatMessage& message : messages) {
    turns.push_back({message.role, message.content, {}, message.tool_call_id});
    for (const ToolCall& call : message.tool_calls) {
      turns.back().tool_calls.push_back({call.id, call.name, call.arguments});
    }
  }
  return row->render(turns, true, tools_json);
}

}  // namespace upg::runtime
