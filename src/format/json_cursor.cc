#include "format/json_cursor.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "upg/error.h"

namespace upg::format {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The end of a number, literal or whatever stands in its place.
bool ends_token(char c) {
  return is_space(c) || c == ',' || c == ':' || c == ']' || c == '}' || c == '[' || c == '{' ||
         c == '"';
}

// -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
bool is_number(std::string_view token) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t begin = i;
    while (i < token.size() && is_digit(token[i])) ++i;
    return i - begin;
  };
  if (i < token.size() && token[i] == '-') ++i;
  const size_t first = i;
  const size_t whole = digits();
  if (whole == 0 || (whole > 1 && token[first] == '0')) return false;
  if (i < token.size() && token[i] == '.') {
    ++i;
    if (digits() == 0) return false;
  }
  if (i < token.size() && (token[i] == 'e' || token[i] == 'E')) {
    ++i;
    if (i < token.size() && (token[i] == '+' || token[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == token.size();
}

std::string shortened(std::string_view token) {
  constexpr size_t kShown = 40;
  if (token.size() <= kShown) return base::printable(token);
  return fmt::format("{}... ({} characters)", base::printable(token.substr(0, kShown)),
                     token.size());
}

}  // namespace

JsonCursor::JsonCursor(std::string_view text, std::string_view file, uint64_t origin)
    : text_(text), origin_(origin), file_(base::printable(file)) {}

uint64_t JsonCursor::offset() {
  peek();
  return origin_ + at_;
}

std::string_view JsonCursor::rest() { return text_.substr(at_); }

void JsonCursor::fail_at(uint64_t offset, std::string_view code, std::string_view message) const {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("{}: {}{}, at byte {} ({})", file_, context_, message, offset, code));
}

void JsonCursor::fail(std::string_view code, std::string_view message) const {
  fail_at(origin_ + at_, code, message);
}

void JsonCursor::fail_kind(std::string_view what, std::string_view code, std::string_view allowed) {
  check_depth();
  fail(code, fmt::format("{}: found {}, allowed is {}", what, describe(), allowed));
}

// Before a value of the wrong kind is reported: nesting beyond the limit is its own error.
void JsonCursor::check_depth() {
  const size_t start = at_;
  if (peek() == '{' || peek() == '[') skip_value();
  at_ = start;
}

char JsonCursor::peek() {
  while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  return at_ < text_.size() ? text_[at_] : '\0';
}

bool JsonCursor::take_if(char c) {
  if (peek() != c || at_ == text_.size()) return false;
  ++at_;
  return true;
}

void JsonCursor::expect(char c) {
  if (take_if(c)) return;
  if (at_ == text_.size()) fail("JSON", fmt::format("the text ends where '{}' is due", c));
  fail("JSON", fmt::format("found {}, allowed is '{}'", describe(), c));
}

void JsonCursor::open(char c, std::string_view what, std::string_view code,
                      std::string_view allowed) {
  if (peek() != c) fail_kind(what, code, allowed);
  ++at_;
}

std::string_view JsonCursor::scalar_token() const {
  size_t end = at_;
  while (end < text_.size() && !ends_token(text_[end])) ++end;
  return text_.substr(at_, end - at_);
}

std::string JsonCursor::describe() {
  const char c = peek();
  if (at_ == text_.size()) return "the end of the text";
  if (c == '{') return "an object";
  if (c == '[') return "an array";
  if (c == '"') return "a string";
  const std::string_view token = scalar_token();
  return token.empty() ? fmt::format("'{}'", base::printable({&c, 1})) : shortened(token);
}

uint64_t JsonCursor::integer(std::string_view what, std::string_view code, uint64_t max) {
  if (!is_digit(peek()) && peek() != '-') {
    fail_kind(what, code, fmt::format("an integer from 0 to {}", max));
  }
  const std::string_view token = scalar_token();
  if (!is_number(token)) fail("JSON", fmt::format("{}: {} is no number", what, shortened(token)));
  uint64_t value = 0;
  bool fits = std::all_of(token.begin(), token.end(), is_digit) && token.size() <= 20;
  for (size_t i = 0; fits && i < token.size(); ++i) {
    fits = !__builtin_mul_overflow(value, uint64_t{10}, &value) &&
           !__builtin_add_overflow(value, static_cast<uint64_t>(token[i] - '0'), &value);
  }
  if (!fits || value > max) {
    fail(code, fmt::format("{}: found {}, allowed is an integer from 0 to {}", what,
                           shortened(token), max));
  }
  at_ += token.size();
  return value;
}

std::string JsonCursor::string(std::string_view what, std::string_view code, size_t max_bytes) {
  if (peek() != '"') fail_kind(what, code, "a string");
  return string_body(max_bytes);
}

std::string JsonCursor::string_body(size_t max_bytes) {
  ++at_;  // the quote
  std::string out;
  while (true) {
    if (at_ == text_.size()) fail("JSON", "the text ends inside a string");
    const char c = text_[at_];
    if (c == '"') break;
    if (static_cast<uint8_t>(c) < 0x20) fail("JSON", "a control character inside a string");
    if (c == '\\') {
      unescape(out);
    } else {
      out.push_back(c);
      ++at_;
    }
    if (out.size() > max_bytes) {
      fail("LIMIT", fmt::format("a string of more than {} bytes", max_bytes));
    }
  }
  ++at_;
  return out;
}

void JsonCursor::unescape(std::string& out) {
  constexpr std::string_view kFrom = "\"\\/bfnrt";
  constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
  const char c = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
  const size_t index = kFrom.find(c);
  if (index != std::string_view::npos) {
    out.push_back(kTo[index]);
    at_ += 2;
    return;
  }
  if (c != 'u') fail("JSON", "an unknown escape inside a string");
  uint32_t code = hex4();
  if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_).starts_with("\\u")) {
    const uint32_t low = hex4();
    if (low < 0xdc00 || low > 0xdfff) fail("JSON", "half a surrogate pair inside a string");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xd800 && code < 0xe000) {
    fail("JSON", "half a surrogate pair inside a string");
  }
  base::append_utf8(out, code);
}

// Four digits after \u.
uint32_t JsonCursor::hex4() {
  uint32_t code = 0;
  for (size_t i = 2; i < 6; ++i) {
    const char c = at_ + i < text_.size() ? text_[at_ + i] : '\0';
    const bool letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (!is_digit(c) && !letter) fail("JSON", "an unknown escape inside a string");
    code = code * 16 + static_cast<uint32_t>(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  at_ += 6;
  return code;
}

void JsonCursor::skip_string() {
  ++at_;
  while (at_ < text_.size() && text_[at_] != '"') {
    if (static_cast<uint8_t>(text_[at_]) < 0x20) fail("JSON", "a control character in a string");
    if (text_[at_] == '\\') {
      std::string ignored;
      unescape(ignored);
    } else {
      ++at_;
    }
  }
  if (at_ == text_.size()) fail("JSON", "the text ends inside a string");
  ++at_;
}

void JsonCursor::skip_scalar() {
  const std::string_view token = scalar_token();
  if (token != "true" && token != "false" && token != "null" && !is_number(token)) {
    fail("JSON", fmt::format("found {}, allowed is a value", describe()));
  }
  at_ += token.size();
}

// A value of any kind, without recursion: `closers` is the stack of brackets that are open.
void JsonCursor::skip_value() {
  std::string closers;
  const auto begin_member = [&] {
    if (closers.back() != '}') return;
    if (peek() != '"') fail("JSON", "a key in quotes is missing");
    skip_string();
    expect(':');
  };
  do {
    const char c = peek();
    if (c == '{' || c == '[') {
      if (closers.size() == kMaxDepth) {
        fail("LIMIT", fmt::format("nested deeper than {} levels", kMaxDepth));
      }
      ++at_;
      closers.push_back(c == '{' ? '}' : ']');
      if (peek() != closers.back()) {
        begin_member();
        continue;
      }
    } else if (c == '"') {
      skip_string();
    } else {
      skip_scalar();
    }
    while (!closers.empty() && take_if(closers.back())) closers.pop_back();
    if (closers.empty()) return;
    expect(',');
    begin_member();
  } while (true);
}

}  // namespace upg::format
