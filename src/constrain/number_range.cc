#include "constrain/number_range.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <tuple>

#include "constrain/json_rules.h"

namespace upg::constrain {
namespace {

constexpr size_t kMaxWhole = 18;
constexpr size_t kMaxFraction = 30;

// Numbers >= 0 whose part before the point has `length` digits.
class OneLength {
 public:
  OneLength(ProgramBuilder& builder, size_t length, size_t fraction_digits, const Bound* low,
            const Bound* high, Label next)
      : builder_(builder), length_(length), last_(length + fraction_digits), next_(next) {
    // A bound with another number of digits holds for all or for none of these.
    impossible_ = (low != nullptr && low->value.whole.size() > length) ||
                  (high != nullptr && high->value.whole.size() < length);
    if (low != nullptr && low->value.whole.size() == length) low_ = low;
    if (high != nullptr && high->value.whole.size() == length) high_ = high;
  }

  Label begin() {
    return impossible_ ? builder_.fail() : digit(0, low_ != nullptr, high_ != nullptr);
  }

 private:
  static int digit_of(const Bound& bound, size_t position) {
    const std::string& whole = bound.value.whole;
    const std::string& fraction = bound.value.fraction;
    if (position < whole.size()) return whole[position] - '0';
    return position - whole.size() < fraction.size() ? fraction[position - whole.size()] - '0' : 0;
  }
  static bool zeros_from(const Bound& bound, size_t position) {
    return position >= bound.value.whole.size() + bound.value.fraction.size();
  }

  // Behind `position` digits; on_low: they are those of the lower bound.
  Label behind(size_t position, bool on_low, bool on_high) {
    if (position < length_) return digit(position, on_low, on_high);
    const Label end = may_end(position, on_low, on_high) ? next_ : builder_.fail();
    if (position == last_) return end;
    const Label more = digit(position, on_low, on_high);
    return builder_.either(position == length_ ? builder_.byte('.', more) : more, end);
  }

  bool may_end(size_t position, bool on_low, bool on_high) const {
    if (on_low && (!zeros_from(*low_, position) || low_->excluded)) return false;
    return !(on_high && zeros_from(*high_, position) && high_->excluded);
  }

  Label digit(size_t position, bool on_low, bool on_high) {
    const auto key = std::tuple(position, on_low, on_high);
    const auto known = known_.find(key);
    if (known != known_.end()) return known->second;
    const int smallest = position == 0 && length_ > 1 ? 1 : 0;
    const int least = std::max(smallest, on_low ? digit_of(*low_, position) : 0);
    const int most = on_high ? digit_of(*high_, position) : 9;
    Label all = builder_.fail();
    for (int digit = least, last; digit <= most; digit = last + 1) {
      const bool at_low = on_low && digit == digit_of(*low_, position);
      const bool at_high = on_high && digit == most;
      last = at_low || at_high ? digit : most - (on_high ? 1 : 0);
      const Label then = behind(position + 1, at_low, at_high);
      all = builder_.either(
          builder_.byte(static_cast<uint8_t>('0' + digit), static_cast<uint8_t>('0' + last), then),
          all);
    }
    return known_[key] = all;
  }

  ProgramBuilder& builder_;
  size_t length_;
  size_t last_;  // digits at most
  Label next_;
  bool impossible_ = false;
  const Bound* low_ = nullptr;  // those that its digits have to be compared with
  const Bound* high_ = nullptr;
  std::map<std::tuple<size_t, bool, bool>, Label> known_;
};

// Numbers >= 0 between bounds >= 0.
Label magnitude_between(ProgramBuilder& builder, bool integer, const Bound* low, const Bound* high,
                        Label next) {
  const size_t digits = static_cast<size_t>(integer ? kIntegerDigits : kDoubleDigits);
  Label all = builder.fail();
  for (size_t length = 1; length <= digits; ++length) {
    OneLength numbers(builder, length, integer ? 0 : digits - length, low, high, next);
    all = builder.either(numbers.begin(), all);
  }
  return all;
}

}  // namespace

std::optional<Decimal> decimal_of(const base::Json& number) {
  // An integer's digits, or the fewest that give this double again.
  const std::string text =
      number.is_integer() ? number.describe() : fmt::format("{}", number.as_number("number"));
  Decimal decimal;
  std::string_view rest = text;
  decimal.negative = rest.starts_with('-');
  if (decimal.negative) rest.remove_prefix(1);
  int exponent = 0;
  const size_t e = rest.find('e');
  if (e != std::string_view::npos) {
    const std::string_view power = rest.substr(rest[e + 1] == '+' ? e + 2 : e + 1);
    std::from_chars(power.data(), power.data() + power.size(), exponent);
    rest = rest.substr(0, e);
  }
  const size_t point = std::min(rest.find('.'), rest.size());
  std::string digits(rest.substr(0, point));
  if (point < rest.size()) digits += rest.substr(point + 1);
  const int behind_point = exponent + static_cast<int>(point);  // where the point comes to be
  if (behind_point > static_cast<int>(kMaxWhole) ||
      behind_point < -static_cast<int>(kMaxFraction)) {
    return std::nullopt;
  }
  if (behind_point < 0) digits.insert(0, static_cast<size_t>(-behind_point), '0');
  const auto whole = static_cast<size_t>(std::max(behind_point, 0));
  if (digits.size() < whole) digits.resize(whole, '0');
  decimal.whole = digits.substr(0, whole);
  decimal.fraction = digits.substr(whole);
  decimal.whole.erase(0, decimal.whole.find_first_not_of('0'));
  decimal.fraction.erase(decimal.fraction.find_last_not_of('0') + 1);
  if (decimal.whole.empty()) decimal.whole = "0";
  return decimal.fraction.size() > kMaxFraction ? std::nullopt : std::optional(decimal);
}

Label number_between(ProgramBuilder& builder, bool integer, const std::optional<Bound>& low,
                     const std::optional<Bound>& high, Label next) {
  const Bound zero{{}, false};
  const Bound above_zero{{}, true};
  const bool low_negative = !low || low->value.negative;
  const bool high_negative = high && high->value.negative;
  Label all = builder.fail();
  if (!high_negative) {
    all = magnitude_between(builder, integer, low_negative ? &zero : &*low, high ? &*high : nullptr,
                            next);
  }
  if (low_negative) {  // -0 is left to the others
    const Label negative = magnitude_between(builder, integer, high_negative ? &*high : &above_zero,
                                             low ? &*low : nullptr, next);
    all = builder.either(all, builder.byte('-', negative));
  }
  return all;
}

}  // namespace upg::constrain
