// Cuts a template into text and the tokens of its tags, with the white-space rules that
// `transformers` sets (trim_blocks, lstrip_blocks). Private to jinja.cc and its neighbours.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "upg/error.h"

namespace upg::tokenizer::jinja {

struct Token {
  enum class Kind {
    kText,        // outside tags
    kPrintBegin,  // {{
    kPrintEnd,
    kBlockBegin,  // {%
    kBlockEnd,
    kName,
    kString,  // without quotes, escapes resolved
    kInteger,
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int line = 0;
};

[[noreturn]] inline void template_error(int line, std::string_view what) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("chat template, line {}: {} (FIELD)", line, what));
}

// Throws Error(kUnsupported) naming the line. The last token is kEnd.
std::vector<Token> tokenize(std::string_view text);

}  // namespace upg::tokenizer::jinja
