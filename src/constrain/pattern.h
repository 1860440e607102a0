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

// The text between the quotes. Throws Error(kUsage) "WHERE: ..." for a syntax error, for what is
// not supported, and above limits (2,000 bytes, 50 groups in groups, counts of 1,000).
Label compile_pattern(ProgramBuilder& builder, StringCharacters& characters,
                      std::string_view pattern, std::string_view where, Label next);

// The pattern of a `format`; empty for one that is not known.
std::string_view pattern_of_format(std::string_view format) noexcept;

}  // namespace upg::constrain
