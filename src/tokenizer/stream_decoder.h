// Text of tokens that come one by one: whole characters only.
#pragma once

#include <cstdint>
#include <string>

#include "tokenizer/tokenizer.h"

namespace upg::tokenizer {

// What push() and finish() returned, one behind the other, is what decode() makes of all the ids.
// One thread at a time.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special = true)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

  // The characters that are complete with this token; may be empty. Valid UTF-8.
  std::string push(int32_t id);
  // What is left: nothing, or U+FFFD for a character that never became whole. Starts anew.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  std::string unfinished_;  // at most 3 bytes between calls
};

}  // namespace upg::tokenizer
