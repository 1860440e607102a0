// Sets of characters, and how a JSON string writes them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "constrain/builder.h"

namespace upg::constrain {

inline constexpr char32_t kLastCharacter = 0x10ffff;

// Code points; surrogates are no characters and may be in a set without meaning anything.
class CharacterSet {
 public:
  using Range = std::pair<char32_t, char32_t>;  // both ends included

  CharacterSet() = default;
  CharacterSet(std::initializer_list<Range> ranges);

  void add(char32_t low, char32_t high);
  void add(const CharacterSet& other);
  CharacterSet complement() const;
  CharacterSet without(const CharacterSet& other) const;
  bool contains(char32_t character) const;
  std::optional<char32_t> single() const;                       // the character of a set of one
  const std::vector<Range>& ranges() const { return ranges_; }  // sorted, apart from each other

 private:
  std::vector<Range> ranges_;
};

// One character of the set in its UTF-8 form.
Label utf8_character(ProgramBuilder& builder, const CharacterSet& set, Label next);

// Rules for one character inside a JSON string, each set compiled once.
class StringCharacters {
 public:
  explicit StringCharacters(ProgramBuilder& builder) : builder_(builder) {}

  // Any character, written in any of JSON's ways; an escaped surrogate comes with its other half.
  Label any();
  // A character of the set, written in one way: as it is, or, where JSON does not allow that, by
  // its short escape, else as \u00xx.
  Label of(const CharacterSet& set);

 private:
  Label escape_rule();

  ProgramBuilder& builder_;
  Label any_ = 0;
  std::map<std::vector<CharacterSet::Range>, Label> rules_;
};

// The text between the quotes when a JSON string holds `text`, in the way of(set) writes it.
std::string escaped_text(std::string_view text);

}  // namespace upg::constrain
