// The patterns that cut text into pieces before byte-pair encoding: a table of known patterns with
// hand-written scanners; any other pattern runs in PCRE2 (regex_split.h).
//
// A scanner is linear in the text, whatever the text: PCRE2's backtracking is not, and needs five
// times as long on ordinary text.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace upg::tokenizer {

// The end of the match that begins at byte `at` < text.size() of valid UTF-8. The known patterns
// match at every position, so the pieces cover the text.
using Scanner = size_t (*)(std::string_view text, size_t at);

struct KnownPattern {
  std::string_view name;     // of the family, for tests and messages
  std::string_view pattern;  // as tokenizer.json has it
  Scanner scan;
};

std::span<const KnownPattern> known_patterns() noexcept;
// The scanner of exactly this pattern text, or nullptr.
Scanner find_scanner(std::string_view pattern) noexcept;

// GPT-2's pattern: what a ByteLevel pre-tokenizer with use_regex splits by.
size_t scan_gpt2(std::string_view text, size_t at);

}  // namespace upg::tokenizer
