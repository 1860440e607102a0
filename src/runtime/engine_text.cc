#include "runtime/engine_text.h"

#include <fmt/format.h>

#include <utility>

#include "base/text.h"
#include "tokenizer/unicode.h"

namespace upg::runtime {
namespace {

std::string repaired(std::string_view bytes) {
  std::string storage;
  return std::string(tokenizer::repaired_utf8(bytes, storage));
}

}  // namespace

std::unique_ptr<const Text> Text::load(const model::ModelSource& source) {
  const std::string_view json = source.tokenizer_text();
  if (json.empty()) return nullptr;
  const std::string path = base::printable(source.path().string());
  const bool folder = source.profile() == "checkpoint";
  const std::string file = folder ? path + "/tokenizer.json" : path + ": tokenizer";
  return std::unique_ptr<const Text>(
      new Text(tokenizer::Tokenizer::load(json, source.tokenizer_config_text(), file)));
}

std::string TextStream::push(int32_t id) {
  if (text_ == nullptr || text_->tokenizer().is_special(id)) return {};
  unfinished_ += text_->tokenizer().piece(id);
  const size_t finished = tokenizer::finished_utf8_prefix(unfinished_);
  std::string text = repaired(std::string_view(unfinished_).substr(0, finished));
  unfinished_.erase(0, finished);
  return text;
}

std::string TextStream::finish() { return repaired(std::exchange(unfinished_, {})); }

}  // namespace upg::runtime
