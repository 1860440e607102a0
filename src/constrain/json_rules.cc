#include "constrain/json_rules.h"

#include <array>

namespace upg::constrain {
namespace {

constexpr int kMaxIndentation = 32;  // spaces behind a line break
constexpr int kMaxTabs = 8;
constexpr int kExponentDigits = 2;  // what stays within the range of a double

}  // namespace

Label digits(ProgramBuilder& builder, int least, int most, Label next) {
  Label at = next;
  for (int i = least; i < most; ++i) at = builder.either(builder.byte('0', '9', at), next);
  for (int i = 0; i < least; ++i) at = builder.byte('0', '9', at);
  return at;
}

Label JsonRules::space_rule() {
  if (space_ == 0) {
    ProgramBuilder& b = builder_;
    Label spaces = b.accept(), tabs = b.accept();
    for (int i = 0; i < kMaxIndentation; ++i) spaces = b.either(b.byte(' ', spaces), b.accept());
    for (int i = 0; i < kMaxTabs; ++i) tabs = b.either(b.byte('\t', tabs), b.accept());
    const Label line = b.byte('\n', b.either(spaces, tabs));
    space_ = b.any_of(std::array{line, b.byte(' ', b.accept()), b.accept()});
  }
  return space_;
}

Label JsonRules::space(Label next) { return builder_.call(space_rule(), next); }

Label JsonRules::text(std::string_view text, Label next) {
  return builder_.byte('"', builder_.literal(escaped_text(text), builder_.byte('"', next)));
}

Label JsonRules::member(Label key, Label value, Label next) {
  return builder_.call(key, builder_.byte(':', space(builder_.call(value, next))));
}

Label JsonRules::list(char open, Label rule, char close, Label next) {
  ProgramBuilder& b = builder_;
  const Label end = b.byte(close, next);
  const Label more = b.placeholder();
  const Label behind = b.either(b.byte(',', space(b.call(rule, more))), space(end));
  b.lead(more, behind);
  return b.byte(open, space(b.either(b.call(rule, more), end)));
}

Label JsonRules::string() {
  if (string_ == 0) {
    const Label inside =
        builder_.repeat(characters_.any(), 0, -1, builder_.byte('"', builder_.accept()));
    string_ = builder_.byte('"', inside);
  }
  return string_;
}

Label JsonRules::integer() {
  if (integer_ == 0) {
    ProgramBuilder& b = builder_;
    const Label natural = b.byte('1', '9', digits(b, 0, kIntegerDigits - 1, b.accept()));
    integer_ = b.any_of(std::array{natural, b.byte('-', natural), b.byte('0', b.accept())});
  }
  return integer_;
}

Label JsonRules::number() {
  if (number_ == 0) {
    ProgramBuilder& b = builder_;
    const Label power = digits(b, 1, kExponentDigits, b.accept());
    const Label sign = b.any_of(std::array{power, b.byte('+', power), b.byte('-', power)});
    const Label exponent = b.either(b.accept(), b.either(b.byte('e', sign), b.byte('E', sign)));
    const Label fraction = b.either(b.byte('.', digits(b, 1, kDoubleDigits, exponent)), exponent);
    const Label whole = b.either(b.byte('1', '9', digits(b, 0, kDoubleDigits - 1, fraction)),
                                 b.byte('0', fraction));
    number_ = b.either(whole, b.byte('-', whole));
  }
  return number_;
}

Label JsonRules::any_value() {
  if (value_ == 0) {
    ProgramBuilder& b = builder_;
    value_ = b.placeholder();
    const Label words =
        b.any_of(std::array{b.literal("true", b.accept()), b.literal("false", b.accept()),
                            b.literal("null", b.accept())});
    // A call as the last step takes no level, so kMaxDepth is the depth of the JSON.
    const auto rule = [&](Label callee) { return b.call(callee, b.accept()); };
    b.lead(value_,
           b.any_of(std::array{any_object(), any_array(), rule(string()), rule(number()), words}));
  }
  return value_;
}

Label JsonRules::any_object() {
  any_value();
  if (member_ == 0) member_ = member(string(), value_, builder_.accept());
  return list('{', member_, '}', builder_.accept());
}

Label JsonRules::any_array() {
  any_value();
  return list('[', value_, ']', builder_.accept());
}

}  // namespace upg::constrain
