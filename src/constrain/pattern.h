// Regular expressions of JSON Schema's `pattern`, compiled to instructions over the bytes of a JSON
// string.
//
// ECMA-262 without what needs more than a finite automaton or a look around: literals, ., classes,
// \d \w \s and their opposites, \t \n \r \f \v \0 \xhh \uhhhh, groups, |, * + ? {m,n} (lazy ones
// too: they mean the same texts), ^ at the beginning and $ at the end of an alternative. As the
// standard says, a pattern without them may match anywhere in the text.
#pragma once

#include <string_view>

#include "constrain/json_rules.h"

namespace upg::constrain {

// How many characters a string may have; most < 0: any number.
struct Lengths {
  int least = 0;
  int most = -1;
};

// The text between the quotes. Lengths are kept when the pattern keeps them anyway, or has one
// repeated character or class that can be counted and otherwise a fixed length. Throws Error
// (kUsage) "WHERE: ..." for a syntax error, for what is not supported, and above limits (2,000
// bytes, 50 groups in groups, counts of 1,000).
Label compile_pattern(ProgramBuilder& builder, StringCharacters& characters,
                      std::string_view pattern, Lengths lengths, std::string_view where,
                      Label next);

// The pattern of a `format`; empty for one that is not known.
std::string_view pattern_of_format(std::string_view format) noexcept;

}  // namespace upg::constrain
