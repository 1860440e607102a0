// The one reader for JSON that comes from outside: strict, bounded, with errors that name the
// place.
//
// simdjson does the parsing (strict grammar, UTF-8, no numbers beyond 64 bits or a double); this
// adds what it lets pass: a depth limit, duplicate keys, integers that must be integers. Values
// point into their document, which must outlive them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace upg::base {

class Json {
 public:
  enum class Kind : uint8_t {
    kNull,
    kBool,
    kInteger,
    kUnsigned,
    kDouble,
    kString,
    kArray,
    kObject
  };
  struct Member;

  Kind kind() const noexcept { return kind_; }
  bool is_null() const noexcept { return kind_ == Kind::kNull; }
  bool is_string() const noexcept { return kind_ == Kind::kString; }
  bool is_array() const noexcept { return kind_ == Kind::kArray; }
  bool is_object() const noexcept { return kind_ == Kind::kObject; }
  bool is_integer() const noexcept { return kind_ == Kind::kInteger || kind_ == Kind::kUnsigned; }
  bool is_number() const noexcept { return is_integer() || kind_ == Kind::kDouble; }
  bool is_bool() const noexcept { return kind_ == Kind::kBool; }

  // Each throws Error(kInvalidData) "FILE: FIELD: found ..., allowed ..." when the value is not
  // that. `where` is how the message calls it: file and path, for instance "config.json:
  // hidden_size".
  bool as_bool(std::string_view where) const;
  int64_t as_integer(std::string_view where, int64_t low, int64_t high) const;  // 2.0 is no integer
  double as_number(std::string_view where) const;                               // finite
  std::string_view as_string(std::string_view where) const;
  std::span<const Json> as_array(std::string_view where) const;
  std::span<const Member> as_object(std::string_view where) const;  // in file order, keys distinct

  // The member of that name, or nullptr; also nullptr when this is no object. Linear in the
  // members.
  const Json* find(std::string_view key) const noexcept;

  std::string describe() const;  // for messages: `"text"`, `-3`, `an array of 4`

 private:
  friend class JsonBuilder;
  Kind kind_ = Kind::kNull;
  union {
    bool bool_;
    int64_t integer_ = 0;
    uint64_t unsigned_;
    double double_;
  };
  std::string_view string_;
  std::vector<Json> items_;
  std::vector<Member> members_;
};

struct Json::Member {
  std::string_view key;
  Json value;
};

struct JsonLimits {
  size_t max_bytes = size_t{16} << 20;
  int max_depth = 64;
  size_t max_values = size_t{1} << 23;  // 88 bytes each in memory
};

class JsonDocument {
 public:
  // Throws Error(kInvalidData) naming `file` when the text breaks the grammar or a limit.
  JsonDocument(std::string_view text, std::string_view file, const JsonLimits& limits = {});
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  const Json& root() const noexcept;

 private:
  struct Storage;
  std::unique_ptr<Storage> storage_;
};

// JSON text of a string, quotes included. Invalid UTF-8 becomes U+FFFD.
std::string json_quote(std::string_view text);

}  // namespace upg::base
