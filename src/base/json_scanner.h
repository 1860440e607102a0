// JSON that arrives byte by byte: where a value ends, and whether it is still one.
//
// For text that a model is writing: unlike json.h it needs no whole document. The grammar is the
// strict one, to 64 levels; that characters are whole UTF-8 and escaped surrogates come in pairs is
// not looked at.
#pragma once

#include <cstdint>
#include <string>

namespace upg::base {

// One object, array, string, true, false or null; no number, whose end cannot be told from its
// last digit. A plain value type.
class JsonScanner {
 public:
  static constexpr size_t kMaxDepth = 64;

  enum class State : uint8_t {
    kMore,    // the beginning of a value
    kWhole,   // with this byte it is whole
    kBroken,  // no value begins like this
  };

  // The next byte, from the value's first one on: no white space before it. Nothing may be pushed
  // behind kWhole or kBroken.
  State push(char byte);

 private:
  enum class Place : uint8_t {
    kValue,
    kFirstElement,  // or ]
    kFirstKey,      // or }
    kKey,
    kColon,
    kBehindValue,
    kString,
    kEscape,
    kHex,
    kWord,
    kMinus,
    kZero,
    kWhole,
    kPoint,
    kFraction,
    kExponent,
    kSign,
    kPower,
  };

  bool read(char byte);
  bool begin_value(char byte);
  bool begin_word(const char* rest);
  bool behind_value(char byte);
  bool string_byte(char byte);
  bool number_byte(char byte);
  bool open(char bracket, Place inside);
  bool close(char bracket);
  bool in_number() const { return place_ >= Place::kMinus; }
  bool go(Place place) {
    place_ = place;
    return true;
  }

  std::string open_;  // the brackets
  Place place_ = Place::kValue;
  bool key_ = false;       // the string is a key
  const char* word_ = "";  // what is left of true, false, null
  int hex_ = 0;            // digits left
  State state_ = State::kMore;
};

}  // namespace upg::base
