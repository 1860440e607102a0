// The rules that every JSON grammar shares: white space, strings, numbers, values of any kind.
//
// What a model could write for ever without saying anything is bounded: white space is one space,
// or a line break and its indentation; numbers have as many digits as a double or a 64-bit integer
// keeps.
#pragma once

#include <string_view>

#include "constrain/builder.h"
#include "constrain/characters.h"

namespace upg::constrain {

inline constexpr int kIntegerDigits = 18;  // what fits into 64 bits whatever the digits are
inline constexpr int kDoubleDigits = 15;   // decimal digits that a double keeps

// Each rule is compiled when it is first asked for.
class JsonRules {
 public:
  explicit JsonRules(ProgramBuilder& builder) : builder_(builder), characters_(builder) {}

  StringCharacters& characters() { return characters_; }

  // ---- what goes on at `next`
  Label space(Label next);                           // where JSON allows white space
  Label text(std::string_view text, Label next);     // a string with exactly this value
  Label member(Label key, Label value, Label next);  // KEY: VALUE, of rules
  // Any number of what `rule` reads, commas between, brackets around.
  Label list(char open, Label rule, char close, Label next);

  // ---- rules
  Label any_value();
  Label any_object();
  Label any_array();
  Label string();
  Label number();
  Label integer();

 private:
  Label space_rule();

  ProgramBuilder& builder_;
  StringCharacters characters_;
  Label space_ = 0, value_ = 0, string_ = 0, member_ = 0, number_ = 0, integer_ = 0;
};

// From least to most decimal digits.
Label digits(ProgramBuilder& builder, int least, int most, Label next);

}  // namespace upg::constrain
