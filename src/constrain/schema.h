// JSON Schema to instructions: the subset of docs/constrained.md.
#pragma once

#include <string_view>

#include "base/json.h"
#include "constrain/json_rules.h"

namespace upg::constrain {

// A rule for the values that satisfy the schema. Throws Error(kUsage) "WHERE.path: what was found,
// what is allowed" for what is malformed or not supported, and for references without end. Time and
// memory grow with the schema's text; kMaxInstructions bounds both.
Label compile_schema(ProgramBuilder& builder, JsonRules& rules, const base::Json& schema,
                     std::string_view where);

}  // namespace upg::constrain
