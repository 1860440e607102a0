// Values that were read (json.h) as text again.
#pragma once

#include <string>

#include "base/json.h"

namespace upg::base {

// As Python's json.dumps(value, ensure_ascii=False, indent=indent) writes it, with ", " and ": "
// between; indent < 0: on one line. Members keep their order. This is the form in which models have
// seen JSON in their prompts.
std::string json_text(const Json& value, int indent = -1);

}  // namespace upg::base
