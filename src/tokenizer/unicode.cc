#include "tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/text.h"
#include "tokenizer/unicode_tables.h"

namespace upg::tokenizer {
namespace {

constexpr uint8_t kCaseless = kLetter | kRaised | kLowered;  // \p{Lm} \p{Lo}

constexpr uint8_t ascii_classes(int c) {
  if (c >= 'A' && c <= 'Z') return kLetter | kRaised;
  if (c >= 'a' && c <= 'z') return kLetter | kLowered;
  if (c >= '0' && c <= '9') return kNumber;
  if (c == ' ' || (c >= '\t' && c <= '\r')) return kSpace;
  return 0;
}

constexpr auto kAscii = [] {
  std::array<uint8_t, 128> table{};
  for (int c = 0; c < 128; ++c) table[static_cast<size_t>(c)] = ascii_classes(c);
  return table;
}();

// The range that holds `code`, or nullptr. Ranges ascend.
template <typename Range>
const Range* find_range(std::span<const Range> ranges, char32_t code) noexcept {
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), code,
                       [](char32_t value, const Range& range) { return value < range.first; });
  if (after == ranges.begin() || std::prev(after)->last < code) return nullptr;
  return &*std::prev(after);
}

uint8_t late_classes(char32_t code) noexcept {
  const LateRange* range = find_range(std::span<const LateRange>(kLateRanges), code);
  if (range == nullptr) return 0;
  switch (range->kind) {
    case LateKind::kLu:
      return kLetter | kRaised;
    case LateKind::kLl:
      return kLetter | kLowered;
    case LateKind::kLm:
    case LateKind::kLo:
      return kCaseless;
    case LateKind::kM:
      return kMark | kRaised | kLowered;
    case LateKind::kN:
      return kNumber;
  }
  return 0;
}

uint8_t table_classes(char32_t code) noexcept {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
      return kLetter | kRaised;
    case UTF8PROC_CATEGORY_LL:
      return kLetter | kLowered;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return kCaseless;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return kMark | kRaised | kLowered;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return kNumber;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return kSpace;
    case UTF8PROC_CATEGORY_CN:
      return late_classes(code);
    default:
      return code == 0x85 ? kSpace : 0;
  }
}

// Symbols and numbers that are Alphabetic: circled and squared letters, letter-like numbers.
constexpr CodeRange kAlphabeticSymbols[] = {
    {0x24b6, 0x24e9}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};

int sequence_length(uint8_t lead) noexcept {
  if (lead < 0x80) return 1;
  return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
}

// Appends U+FFFD for the invalid part at the start of `text` and returns its length: the longest
// beginning of a character, or one byte.
size_t replace_invalid(std::string_view text, std::string& out) {
  out += "\xef\xbf\xbd";
  size_t length = 1;
  while (length < text.size() && finished_utf8_prefix(text.substr(0, length + 1)) == 0) ++length;
  return length;
}

bool is_inert(char32_t code) noexcept {
  return code >= 0x300 && find_range(std::span<const CodeRange>(kInertRanges), code) != nullptr;
}

int combining_class(int32_t code) noexcept { return utf8proc_get_property(code)->combining_class; }

// Canonical decomposition, marks in order. utf8proc's own ordering is quadratic in a run of marks.
void append_decomposed(std::string_view text, std::vector<int32_t>& codes) {
  for (size_t at = 0; at < text.size();) {
    const Char c = char_at(text, at);
    int32_t parts[16];
    int boundary = 0;
    const auto count = utf8proc_decompose_char(
        static_cast<int32_t>(c.code), parts, std::size(parts),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &boundary);
    UPG_CHECK(count > 0 && count <= static_cast<utf8proc_ssize_t>(std::size(parts)));
    codes.insert(codes.end(), parts, parts + count);
    at += c.length;
  }
  const auto by_class = [](int32_t a, int32_t b) {
    return combining_class(a) < combining_class(b);
  };
  const auto is_starter = [](int32_t code) { return combining_class(code) == 0; };
  for (auto begin = codes.begin(); begin != codes.end();) {
    begin = std::find_if_not(begin, codes.end(), is_starter);
    const auto end = std::find_if(begin, codes.end(), is_starter);
    if (end - begin > 1) std::stable_sort(begin, end, by_class);
    begin = end;
  }
}

// Normal form C of a text without inert characters.
void append_nfc(std::string_view text, std::string& out) {
  if (text.empty()) return;
  std::vector<int32_t> codes;
  codes.reserve(text.size());
  append_decomposed(text, codes);
  const auto length =
      utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  UPG_CHECK(length >= 0 && static_cast<size_t>(length) <= codes.size());
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    base::append_utf8(out, static_cast<char32_t>(codes[static_cast<size_t>(i)]));
  }
}

}  // namespace

uint8_t classes_of(char32_t code) noexcept {
  return code < 0x80 ? kAscii[code] : table_classes(code);
}

Char char_at(std::string_view text, size_t at) noexcept {
  if (at >= text.size()) return {};
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[i])); };
  const char32_t lead = byte(at);
  if (lead < 0x80) return {lead, 1, kAscii[lead]};
  const auto more = [&](size_t i) { return at + i < text.size() ? byte(at + i) & 0x3f : 0; };
  char32_t code = 0;
  uint8_t length = static_cast<uint8_t>(sequence_length(static_cast<uint8_t>(lead)));
  if (length == 2) {
    code = (lead & 0x1f) << 6 | more(1);
  } else if (length == 3) {
    code = (lead & 0x0f) << 12 | more(1) << 6 | more(2);
  } else {
    code = (lead & 0x07) << 18 | more(1) << 12 | more(2) << 6 | more(3);
  }
  return {code, length, table_classes(code)};
}

Char char_before(std::string_view text, size_t at) noexcept {
  if (at == 0) return {};
  size_t begin = at - 1;
  while (begin > 0 && at - begin < 4 && (static_cast<uint8_t>(text[begin]) & 0xc0) == 0x80) --begin;
  return char_at(text, begin);
}

bool is_word(char32_t code) noexcept {
  if ((classes_of(code) & (kLetter | kMark)) != 0) return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    case UTF8PROC_CATEGORY_CN:  // young numbers are decimal digits, but for the Kaktovik numerals
      return late_classes(code) == kNumber && (code < 0x1d2c0 || code > 0x1d2d3);
    default:
      return code == 0x200c || code == 0x200d ||
             find_range(std::span<const CodeRange>(kAlphabeticSymbols), code) != nullptr;
  }
}

std::string_view repaired_utf8(std::string_view text, std::string& storage) {
  size_t valid = base::valid_utf8_prefix(text);
  if (valid == text.size()) return text;
  storage.clear();
  storage.reserve(text.size() + text.size() / 8);
  while (true) {
    storage.append(text, 0, valid);
    text.remove_prefix(valid);
    if (text.empty()) return storage;
    text.remove_prefix(replace_invalid(text.substr(0, 4), storage));
    valid = base::valid_utf8_prefix(text);
  }
}

size_t finished_utf8_prefix(std::string_view text) noexcept {
  const size_t tail = text.size() < 3 ? text.size() : 3;
  for (size_t back = 1; back <= tail; ++back) {
    const auto byte = static_cast<uint8_t>(text[text.size() - back]);
    if ((byte & 0xc0) == 0x80) continue;  // goes on with a character: look further left
    if (byte < 0xc2 || byte > 0xf4 || back >= static_cast<size_t>(sequence_length(byte))) break;
    // It lacks bytes; the second one decides whether it can still become a character.
    static constexpr std::string_view kFillers[] = {"\x80\x80\x80", "\xa0\x80\x80", "\x90\x80\x80"};
    for (const std::string_view filler : kFillers) {
      char whole[4];
      text.copy(whole, back, text.size() - back);
      const auto length = static_cast<size_t>(sequence_length(byte));
      filler.copy(whole + back, length - back);
      if (base::valid_utf8_prefix({whole, length}) == length) return text.size() - back;
    }
    break;
  }
  return text.size();
}

std::string normalize_nfc(std::string_view text) {
  // Everything below U+0300 (first byte 0xcc) is in normal form.
  const bool low =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0xcc; });
  if (low) return std::string(text);
  // An inert character is for the older normaliser a starter without decomposition, so what lies
  // before and behind it is normalised apart.
  std::string out;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Char c = char_at(text, at);
    if (is_inert(c.code)) {
      append_nfc(text.substr(begin, at - begin), out);
      out.append(text, at, c.length);
      begin = at + c.length;
    }
    at += c.length;
  }
  append_nfc(text.substr(begin), out);
  return out;
}

}  // namespace upg::tokenizer
