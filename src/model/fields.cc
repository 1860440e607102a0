#include "model/fields.h"

#include <fmt/format.h>

#include <utility>

#include "upg/error.h"

namespace upg::model {

Fields::Fields(const base::Json& object, std::string_view file, std::string prefix)
    : object_(object), file_(file), prefix_(std::move(prefix)) {}

std::string Fields::where(std::string_view key) const {
  return fmt::format("{}: {}{}", file_, prefix_, key);
}

const base::Json* Fields::find(std::string_view key) const noexcept {
  const base::Json* value = object_.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

const base::Json& Fields::require(std::string_view key) const {
  const base::Json* value = find(key);
  if (value == nullptr) {
    throw Error(ErrorCode::kInvalidData, fmt::format("{}: missing (MISSING)", where(key)));
  }
  return *value;
}

int64_t Fields::integer(std::string_view key, int64_t low, int64_t high) const {
  return require(key).as_integer(where(key), low, high);
}

int64_t Fields::integer_or(std::string_view key, int64_t low, int64_t high,
                           int64_t fallback) const {
  const base::Json* value = find(key);
  return value == nullptr ? fallback : value->as_integer(where(key), low, high);
}

double Fields::number(std::string_view key, double low, double high) const {
  const base::Json& json = require(key);
  const double value = json.as_number(where(key));
  if (!(value > low && value <= high)) {
    refuse(key, json.describe(), fmt::format("a number above {} up to {}", low, high));
  }
  return value;
}

double Fields::number_or(std::string_view key, double low, double high, double fallback) const {
  return find(key) == nullptr ? fallback : number(key, low, high);
}

bool Fields::flag(std::string_view key) const {
  const base::Json* value = find(key);
  return value != nullptr && value->as_bool(where(key));
}

std::string_view Fields::text(std::string_view key) const {
  return require(key).as_string(where(key));
}

void Fields::refuse(std::string_view key, std::string_view found, std::string_view allowed) const {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("{}: found {}, allowed is {} (FIELD)", where(key), found, allowed));
}

void Fields::unsupported(std::string_view key, std::string_view found,
                         std::string_view allowed) const {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("{}: found {}, this build knows {}", where(key), found, allowed));
}

}  // namespace upg::model
