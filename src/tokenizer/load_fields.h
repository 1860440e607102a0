// Fields of a tokenizer's JSON, with errors that name them. Private to the loader.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/text.h"
#include "upg/error.h"

namespace upg::tokenizer {

[[noreturn]] inline void fail(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::kInvalidData, fmt::format("{}: {}", where, what));
}

[[noreturn]] inline void refuse(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("{}: {} is not supported", where, base::printable(what)));
}

inline void check_limit(size_t found, size_t allowed, std::string_view where,
                        std::string_view what) {
  if (found > allowed) {
    fail(where, fmt::format("found {} {}, allowed are {} (LIMIT)", found, what, allowed));
  }
}

inline std::string join_field(std::string_view where, std::string_view field) {
  const bool at_root = where.find(": ") == std::string_view::npos;
  return fmt::format("{}{}{}", where, at_root ? ": " : ".", field);
}

// A member that must be there.
inline const base::Json& member(const base::Json& object, std::string_view name,
                                std::string_view where) {
  const base::Json* found = object.find(name);
  if (found == nullptr) fail(join_field(where, name), "is missing (FIELD)");
  return *found;
}

// One that may be absent or null: nullptr then.
inline const base::Json* find_set(const base::Json& object, std::string_view name) {
  const base::Json* found = object.find(name);
  return found == nullptr || found->is_null() ? nullptr : found;
}

inline bool flag(const base::Json& object, std::string_view name, std::string_view where,
                 bool fallback) {
  const base::Json* found = find_set(object, name);
  return found == nullptr ? fallback : found->as_bool(join_field(where, name));
}

inline std::string_view text_field(const base::Json& object, std::string_view name,
                                   std::string_view where) {
  return member(object, name, where).as_string(join_field(where, name));
}

// The "type" that every part of a tokenizer.json has.
inline std::string_view type_of(const base::Json& part, std::string_view where) {
  return text_field(part, "type", where);
}

}  // namespace upg::tokenizer
