// Characters as the split patterns see them: their general category, white space, words.
//
// Categories are those of Unicode 16, which the `tokenizers` package knows: utf8proc's, whichever
// version is installed, plus a table of what newer versions assigned. Text is valid UTF-8
// everywhere behind repaired_utf8().
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace upg::tokenizer {

// Bits; a character has several.
enum CharClass : uint8_t {
  kLetter = 1,   // \p{L}
  kNumber = 2,   // \p{N}
  kSpace = 4,    // \s: White_Space
  kMark = 8,     // \p{M}
  kRaised = 16,  // \p{Lu} \p{Lt} \p{Lm} \p{Lo} \p{M}: what o200k lets a capitalised word begin with
  kLowered = 32  // \p{Ll} \p{Lm} \p{Lo} \p{M}: and go on with
};

struct Char {
  char32_t code = 0;
  uint8_t length = 0;  // bytes; 0: behind the end
  uint8_t classes = 0;
  bool is(uint8_t mask) const noexcept { return (classes & mask) != 0; }
};

uint8_t classes_of(char32_t code) noexcept;

// The character at byte `at` of valid UTF-8; length 0 when at >= text.size().
Char char_at(std::string_view text, size_t at) noexcept;
// The character that ends before byte `at`; length 0 when at == 0.
Char char_before(std::string_view text, size_t at) noexcept;

// \w as added tokens with single_word see it (Alphabetic, marks, decimal digits, connectors).
bool is_word(char32_t code) noexcept;

// `text` itself when it is valid UTF-8, else a copy in `storage` in which each maximal invalid
// part is U+FFFD, as Python's bytes.decode("utf-8", "replace") has it.
std::string_view repaired_utf8(std::string_view text, std::string& storage);

// Bytes of `text` that can be said: all but an unfinished character at its end (at most 3 bytes).
size_t finished_utf8_prefix(std::string_view text) noexcept;

// Normal form C as the package's normaliser has it (Unicode 9: younger marks are not reordered).
std::string normalize_nfc(std::string_view text);

}  // namespace upg::tokenizer
