// Text around the engine: the model's tokenizer and its chat template.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/source.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"
#include "upg/engine.h"

namespace upg::runtime {

// For messages: "FOLDER/tokenizer.json", or "FILE: tokenizer.json" where it is part of a UPG file.
std::string part_name(const model::ModelSource& source, std::string_view part);

// Immutable; thread-safe.
class Text {
 public:
  // Null when the source carries no tokenizer. Throws Error for one that is broken or unsupported.
  // A chat template that is not known is none.
  static std::unique_ptr<const Text> load(const model::ModelSource& source);

  const tokenizer::Tokenizer& tokenizer() const noexcept { return tokenizer_; }
  const tokenizer::ChatTemplate* chat_template() const noexcept { return chat_template_; }
  // Of the tokens that end an answer in the model's own template, those the tokenizer has.
  std::vector<int32_t> stop_ids() const;

 private:
  Text(tokenizer::Tokenizer tokenizer, const tokenizer::ChatTemplate* chat_template)
      : tokenizer_(std::move(tokenizer)), chat_template_(chat_template) {}

  tokenizer::Tokenizer tokenizer_;
  const tokenizer::ChatTemplate* chat_template_;  // a row of the table, or null
};

// As upg::Engine::apply_chat_template says; `own` may be null, `file` is for messages.
std::string apply_chat_template(const tokenizer::ChatTemplate* own, std::string_view template_name,
                                std::span<const ChatMessage> messages, std::string_view tools_json,
                                std::string_view file);

}  // namespace upg::runtime
