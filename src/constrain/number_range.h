// Numbers between bounds, digit by digit, so that no value outside can be begun.
#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "constrain/builder.h"

namespace upg::constrain {

// Exact, as it was written.
struct Decimal {
  bool negative = false;
  std::string whole = "0";  // no leading zeros
  std::string fraction;     // no trailing zeros
  bool is_zero() const { return whole == "0" && fraction.empty(); }
};

// nullopt for what has more than 18 digits before the point or 30 behind it.
std::optional<Decimal> decimal_of(const base::Json& number);

struct Bound {
  Decimal value;
  bool excluded = false;
};

// Integers of up to 18 digits, or numbers of up to 15, without exponents, from low to high.
// Excluded bounds hold for the nearest doubles too, which 15 digits tell apart.
Label number_between(ProgramBuilder& builder, bool integer, const std::optional<Bound>& low,
                     const std::optional<Bound>& high, Label next);

}  // namespace upg::constrain
