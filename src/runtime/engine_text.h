// Text around the engine: the model's tokenizer and its chat template.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/source.h"
#include "tokenizer/tokenizer.h"
#include "upg/engine.h"

namespace upg::runtime {

// Immutable; thread-safe.
class Text {
 public:
  // Null when the source carries no tokenizer. Throws Error for one that is broken or unsupported.
  static std::unique_ptr<const Text> load(const model::ModelSource& source);

  const tokenizer::Tokenizer& tokenizer() const noexcept { return tokenizer_; }

 private:
  explicit Text(tokenizer::Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}

  tokenizer::Tokenizer tokenizer_;
};

// The text of tokens as they come, in whole characters; all of it together is what decode() makes
// of them. Without a Text it is always empty.
class TextStream {
 public:
  explicit TextStream(const Text* text) : text_(text) {}

  std::string push(int32_t id);  // what has become complete with this token
  std::string finish();          // an unfinished character at the end: U+FFFD

 private:
  const Text* text_;
  std::string unfinished_;  // bytes
};

}  // namespace upg::runtime
