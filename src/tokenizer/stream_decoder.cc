#include "tokenizer/stream_decoder.h"

#include <utility>

#include "tokenizer/unicode.h"

namespace upg::tokenizer {
namespace {

std::string repaired(std::string_view bytes) {
  std::string storage;
  return std::string(repaired_utf8(bytes, storage));
}

}  // namespace

std::string StreamDecoder::push(int32_t id) {
  if (skip_special_ && tokenizer_.is_special(id)) return {};
  unfinished_ += tokenizer_.piece(id);
  const size_t finished = finished_utf8_prefix(unfinished_);
  std::string text = repaired(std::string_view(unfinished_).substr(0, finished));
  unfinished_.erase(0, finished);
  return text;
}

std::string StreamDecoder::finish() { return repaired(std::exchange(unfinished_, {})); }

}  // namespace upg::tokenizer
