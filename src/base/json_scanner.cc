#include "base/json_scanner.h"

#include <cstring>

#include "base/check.h"

namespace upg::base {
namespace {

bool is_space(char byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }
bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }
bool is_hex(char byte) {
  return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

}  // namespace

JsonScanner::State JsonScanner::push(char byte) {
  UPG_CHECK(state_ == State::kMore);
  if (!read(byte)) {
    state_ = State::kBroken;
  } else if (open_.empty() && place_ == Place::kBehindValue) {
    state_ = State::kWhole;
  }
  return state_;
}

bool JsonScanner::read(char byte) {
  if (in_number()) return number_byte(byte);
  switch (place_) {
    case Place::kString:
    case Place::kEscape:
    case Place::kHex:
      return string_byte(byte);
    case Place::kWord:
      if (byte != *word_) return false;
      return *++word_ != '\0' || go(Place::kBehindValue);
    default:
      break;
  }
  if (is_space(byte)) return !open_.empty();
  switch (place_) {
    case Place::kFirstElement:
      return byte == ']' ? close('[') : begin_value(byte);
    case Place::kFirstKey:
      if (byte == '}') return close('{');
      [[fallthrough]];
    case Place::kKey:
      key_ = true;
      return byte == '"' && go(Place::kString);
    case Place::kColon:
      return byte == ':' && go(Place::kValue);
    case Place::kBehindValue:
      return behind_value(byte);
    default:
      return begin_value(byte);
  }
}

bool JsonScanner::begin_value(char byte) {
  switch (byte) {
    case '{':
      return open('{', Place::kFirstKey);
    case '[':
      return open('[', Place::kFirstElement);
    case '"':
      key_ = false;
      return go(Place::kString);
    case 't':
      return begin_word("rue");
    case 'f':
      return begin_word("alse");
    case 'n':
      return begin_word("ull");
    default:
      break;
  }
  if (open_.empty()) return false;
  if (byte == '-') return go(Place::kMinus);
  return is_digit(byte) && go(byte == '0' ? Place::kZero : Place::kWhole);
}

bool JsonScanner::begin_word(const char* rest) {
  word_ = rest;
  return go(Place::kWord);
}

bool JsonScanner::behind_value(char byte) {
  const char bracket = open_.back();
  if (byte == ',') return go(bracket == '{' ? Place::kKey : Place::kValue);
  if (byte == '}') return close('{');
  return byte == ']' && close('[');
}

bool JsonScanner::string_byte(char byte) {
  if (place_ == Place::kEscape) {
    if (byte == 'u') {
      hex_ = 4;
      return go(Place::kHex);
    }
    return byte != '\0' && std::strchr("\"\\/bfnrt", byte) != nullptr && go(Place::kString);
  }
  if (place_ == Place::kHex) return is_hex(byte) && (--hex_ > 0 || go(Place::kString));
  if (byte == '\\') return go(Place::kEscape);
  if (byte == '"') return go(key_ ? Place::kColon : Place::kBehindValue);
  return static_cast<uint8_t>(byte) >= 0x20;
}

bool JsonScanner::number_byte(char byte) {
  const bool digit = is_digit(byte);
  const bool power = byte == 'e' || byte == 'E';
  switch (place_) {
    case Place::kMinus:
      return digit && go(byte == '0' ? Place::kZero : Place::kWhole);
    case Place::kPoint:
      return digit && go(Place::kFraction);
    case Place::kExponent:
      if (byte == '+' || byte == '-') return go(Place::kSign);
      [[fallthrough]];
    case Place::kSign:
      return digit && go(Place::kPower);
    case Place::kZero:
    case Place::kWhole:
      if (byte == '.') return go(Place::kPoint);
      [[fallthrough]];
    case Place::kFraction:
      if (power) return go(Place::kExponent);
      break;
    default:
      break;
  }
  if (digit) return place_ != Place::kZero;
  place_ = Place::kBehindValue;
  return read(byte);
}

bool JsonScanner::open(char bracket, Place inside) {
  if (open_.size() == kMaxDepth) return false;
  open_ += bracket;
  return go(inside);
}

bool JsonScanner::close(char bracket) {
  if (open_.empty() || open_.back() != bracket) return false;
  open_.pop_back();
  return go(Place::kBehindValue);
}

}  // namespace upg::base
