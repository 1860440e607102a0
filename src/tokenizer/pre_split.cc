#include "tokenizer/pre_split.h"

#include <climits>

#include "tokenizer/unicode.h"

namespace upg::tokenizer {
namespace {

bool is_newline(const Char& c) { return c.code == '\r' || c.code == '\n'; }

// The first byte at or behind `at` whose character has none of the classes.
size_t skip(std::string_view text, size_t at, uint8_t classes) {
  for (Char c = char_at(text, at); c.length != 0 && c.is(classes); c = char_at(text, at)) {
    at += c.length;
  }
  return at;
}

// The same for characters that have none of them: [^\s\p{L}\p{N}]+ and the like.
size_t skip_not(std::string_view text, size_t at, uint8_t classes) {
  for (Char c = char_at(text, at); c.length != 0 && !c.is(classes); c = char_at(text, at)) {
    at += c.length;
  }
  return at;
}

size_t skip_newlines(std::string_view text, size_t at, char also) {
  while (at < text.size() && (text[at] == '\r' || text[at] == '\n' || text[at] == also)) ++at;
  return at;
}

// The letter behind the apostrophe, lower case when that is asked for. U+017F (long s) is a
// caseless 's'.
char32_t folded(std::string_view text, size_t& at, bool caseless) {
  const Char c = char_at(text, at);
  at += c.length;
  if (!caseless) return c.code;
  if (c.code == 0x17f) return 's';
  return c.code >= 'A' && c.code <= 'Z' ? c.code + 32 : c.code;
}

// The end of 's 't 're 've 'm 'll 'd at `at`, or `at`.
size_t skip_contraction(std::string_view text, size_t at, bool caseless) {
  if (at >= text.size() || text[at] != '\'') return at;
  size_t end = at + 1;
  const char32_t first = folded(text, end, caseless);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return end;
  const char32_t second = folded(text, end, caseless);
  const bool two = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                   (first == 'l' && second == 'l');
  return two ? end : at;
}

// \s+(?!\S)|\s+ at white space: a run, without its last character when something else follows.
size_t scan_spaces(std::string_view text, size_t at) {
  const size_t end = skip(text, at, kSpace);
  if (end == text.size()) return end;
  const size_t last = end - char_before(text, end).length;
  return last > at ? last : end;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ at white space: up to the last newline of the run, when it has one.
size_t scan_spaces_and_newlines(std::string_view text, size_t at) {
  const size_t end = skip(text, at, kSpace);
  const size_t newline = text.substr(at, end - at).find_last_of("\r\n");
  return newline == std::string_view::npos ? scan_spaces(text, at) : at + newline + 1;
}

constexpr uint8_t kLetterOrNumber = kLetter | kNumber;
constexpr uint8_t kWordOrSpace = kLetter | kNumber | kSpace;

constexpr int kAllDigits = INT_MAX;

size_t scan_digits(std::string_view text, size_t at, int most) {
  for (int i = 0; i < most; ++i) {
    const Char c = char_at(text, at);
    if (!c.is(kNumber)) break;
    at += c.length;
  }
  return at;
}

// ` ?[^\s\p{L}\p{N}]+[\r\n]*`, or `at`; `also` joins the newlines.
size_t scan_symbols(std::string_view text, size_t at, char also) {
  const size_t begin = text[at] == ' ' ? at + 1 : at;
  const size_t end = skip_not(text, begin, kWordOrSpace);
  return end == begin ? at : skip_newlines(text, end, also);
}

struct Cl100kRules {
  int digits;      // \p{N}{1,digits}; kAllDigits: no limit
  bool keep_tail;  // \s++$ comes before the newlines: white space at the end is one piece
};

size_t scan_cl100k_like(std::string_view text, size_t at, const Cl100kRules& rules) {
  const size_t contraction = skip_contraction(text, at, true);
  if (contraction != at) return contraction;
  const Char c = char_at(text, at);
  if (c.is(kLetter)) return skip(text, at, kLetter);
  if (!is_newline(c) && !c.is(kNumber)) {  // [^\r\n\p{L}\p{N}]?\p{L}+
    const size_t end = skip(text, at + c.length, kLetter);
    if (end != at + c.length) return end;
  }
  if (c.is(kNumber)) return scan_digits(text, at, rules.digits);
  const size_t symbols = scan_symbols(text, at, '\n');
  if (symbols != at) return symbols;
  if (rules.keep_tail && skip(text, at, kSpace) == text.size()) return text.size();
  return scan_spaces_and_newlines(text, at);
}

size_t scan_cl100k(std::string_view text, size_t at) {
  return scan_cl100k_like(text, at, {3, false});
}

size_t scan_cl100k_tail(std::string_view text, size_t at) {
  return scan_cl100k_like(text, at, {kAllDigits, true});
}

size_t scan_qwen2(std::string_view text, size_t at) {
  return scan_cl100k_like(text, at, {1, false});
}

// [Raised]*[Lowered]+ at `at`, or `at`. The greedy first part gives back until a character remains
// for the second: to its last one that is of both kinds.
size_t scan_lowered_word(std::string_view text, size_t at) {
  size_t both_end = at;
  Char c = char_at(text, at);
  for (; c.is(kRaised); c = char_at(text, at)) {
    at += c.length;
    if (c.is(kLowered)) both_end = at;
  }
  return c.is(kLowered) ? skip(text, at, kLowered) : both_end;
}

// [Raised]+[Lowered]* at `at`, or `at`.
size_t scan_raised_word(std::string_view text, size_t at) {
  const size_t end = skip(text, at, kRaised);
  return end == at ? at : skip(text, end, kLowered);
}

// o200k's two kinds of word, each with and without one character before it, then a contraction.
size_t scan_o200k_word(std::string_view text, size_t at, const Char& first) {
  const bool prefix = !is_newline(first) && !first.is(kLetterOrNumber);
  for (const auto scan_word : {scan_lowered_word, scan_raised_word}) {
    for (int skipped = prefix ? 1 : 0; skipped >= 0; --skipped) {
      const size_t begin = skipped == 1 ? at + first.length : at;
      const size_t end = scan_word(text, begin);
      if (end != begin) return skip_contraction(text, end, true);
    }
  }
  return at;
}

size_t scan_o200k(std::string_view text, size_t at) {
  const Char c = char_at(text, at);
  const size_t word = scan_o200k_word(text, at, c);
  if (word != at) return word;
  if (c.is(kNumber)) return scan_digits(text, at, 3);
  const size_t symbols = scan_symbols(text, at, '/');
  return symbols != at ? symbols : scan_spaces_and_newlines(text, at);
}

#define UPG_CL100K_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPG_O200K_WORDS                                                                       \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+" \
  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+"

constexpr KnownPattern kKnown[] = {
    {"gpt2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     scan_gpt2},
    {"gpt2", R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     scan_gpt2},
    // Llama 3, Phi-4 and most of cl100k's users.
    {"cl100k",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" UPG_CL100K_TAIL,
     scan_cl100k},
    {"cl100k",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}"
     "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     scan_cl100k},
    {"cl100k",
     "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}"
     "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     scan_cl100k},
    // Oniguruma, and so the `tokenizers` package, reads {1,3}+ as a repeated group: any number of
    // digits in one piece.
    {"cl100k, possessive",
     "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+"
     "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s",
     scan_cl100k_tail},
    {"qwen2", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" UPG_CL100K_TAIL,
     scan_qwen2},
    {"o200k", UPG_O200K_WORDS "[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", scan_o200k},
};
#undef UPG_O200K_WORDS
#undef UPG_CL100K_TAIL

}  // namespace

size_t scan_gpt2(std::string_view text, size_t at) {
  const size_t contraction = skip_contraction(text, at, false);
  if (contraction != at) return contraction;
  const size_t begin = text[at] == ' ' ? at + 1 : at;
  const Char c = char_at(text, begin);
  if (c.is(kLetter)) return skip(text, begin, kLetter);
  if (c.is(kNumber)) return skip(text, begin, kNumber);
  if (c.length != 0 && !c.is(kSpace)) return skip_not(text, begin, kWordOrSpace);
  return scan_spaces(text, at);
}

std::span<const KnownPattern> known_patterns() noexcept { return kKnown; }

Scanner find_scanner(std::string_view pattern) noexcept {
  for (const KnownPattern& known : kKnown) {
    if (known.pattern == pattern) return known.scan;
  }
  return nullptr;
}

}  // namespace upg::tokenizer
