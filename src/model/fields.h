// The fields of a JSON object that must be there, of their type and in range; errors name them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"

namespace upg::model {

// A view: object, and whatever `file` points at, must outlive it. Every function throws
// Error(kInvalidData) "FILE: FIELD: found ..., allowed is ..." for what is not as it says.
class Fields {
 public:
  // prefix: path of the object inside the file, "rope_scaling." or empty.
  Fields(const base::Json& object, std::string_view file, std::string prefix = {});

  std::string_view file() const noexcept { return file_; }
  // "config.json: rope_scaling.factor"
  std::string where(std::string_view key) const;
  const base::Json& object() const noexcept { return object_; }

  const base::Json* find(std::string_view key) const noexcept;  // nullptr when absent or null
  const base::Json& require(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t low, int64_t high) const;
  int64_t integer_or(std::string_view key, int64_t low, int64_t high, int64_t fallback) const;
  double number(std::string_view key, double low, double high) const;  // low < value <= high
  double number_or(std::string_view key, double low, double high, double fallback) const;
  bool flag(std::string_view key) const;  // absent: false
  std::string_view text(std::string_view key) const;

  // Error(kInvalidData): the value is of the right type but means nothing here.
  [[noreturn]] void refuse(std::string_view key, std::string_view found,
                           std::string_view allowed) const;
  // Error(kUnsupported): it means something that this build does not do.
  [[noreturn]] void unsupported(std::string_view key, std::string_view found,
                                std::string_view allowed) const;

 private:
  const base::Json& object_;
  std::string_view file_;
  std::string prefix_;
};

}  // namespace upg::model
