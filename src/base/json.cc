#include "base/json.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/text.h"
#include "upg/error.h"

namespace upg::base {
namespace {

[[noreturn]] void fail(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::kInvalidData, fmt::format("{}: {}", where, what));
}

[[noreturn]] void fail_kind(std::string_view where, const Json& found, std::string_view allowed) {
  fail(where, fmt::format("found {}, allowed is {} (FIELD)", found.describe(), allowed));
}

}  // namespace

struct JsonDocument::Storage {
  simdjson::dom::parser parser;  // owns the unescaped strings
  Json root;
};

// Turns simdjson's tape into Json values. Recursion is bounded by the depth that simdjson checked.
class JsonBuilder {
 public:
  JsonBuilder(std::string_view file, size_t max_values) : file_(file), max_values_(max_values) {}

  Json build(simdjson::dom::element element) {
    if (++values_ > max_values_) {
      fail(file_, fmt::format("more than {} JSON values (LIMIT)", max_values_));
    }
    Json json;
    switch (element.type()) {
      case simdjson::dom::element_type::NULL_VALUE:
        break;
      case simdjson::dom::element_type::BOOL:
        json.kind_ = Json::Kind::kBool;
        json.bool_ = element.get_bool().value_unsafe();
        break;
      case simdjson::dom::element_type::INT64:
        json.kind_ = Json::Kind::kInteger;
        json.integer_ = element.get_int64().value_unsafe();
        break;
      case simdjson::dom::element_type::UINT64:
        json.kind_ = Json::Kind::kUnsigned;
        json.unsigned_ = element.get_uint64().value_unsafe();
        break;
      case simdjson::dom::element_type::DOUBLE:
        json.kind_ = Json::Kind::kDouble;
        json.double_ = element.get_double().value_unsafe();
        break;
      case simdjson::dom::element_type::STRING:
        json.kind_ = Json::Kind::kString;
        json.string_ = element.get_string().value_unsafe();
        break;
      case simdjson::dom::element_type::ARRAY:
        build_array(element.get_array().value_unsafe(), json);
        break;
      case simdjson::dom::element_type::OBJECT:
        build_object(element.get_object().value_unsafe(), json);
        break;
    }
    return json;
  }

 private:
  void build_array(simdjson::dom::array array, Json& json) {
    json.kind_ = Json::Kind::kArray;
    json.items_.reserve(std::min(array.size(), max_values_ - values_));
    for (const simdjson::dom::element item : array) json.items_.push_back(build(item));
  }

  void build_object(simdjson::dom::object object, Json& json) {
    json.kind_ = Json::Kind::kObject;
    json.members_.reserve(std::min(object.size(), max_values_ - values_));
    for (const auto field : object) json.members_.push_back({field.key, build(field.value)});
    check_distinct(json.members_);
  }

  void check_distinct(const std::vector<Json::Member>& members) const {
    constexpr size_t kSmall = 16;
    const auto duplicate = [&](std::string_view key) {
      fail(file_, fmt::format("key \"{}\" occurs twice in one object (DUP)", printable(key)));
    };
    if (members.size() <= kSmall) {
      for (size_t i = 0; i < members.size(); ++i) {
        for (size_t j = 0; j < i; ++j) {
          if (members[i].key == members[j].key) duplicate(members[i].key);
        }
      }
      return;
    }
    std::unordered_set<std::string_view> seen;
    seen.reserve(members.size());
    for (const Json::Member& member : members) {
      if (!seen.insert(member.key).second) duplicate(member.key);
    }
  }

  std::string_view file_;
  size_t max_values_;
  size_t values_ = 0;
};

bool Json::as_bool(std::string_view where) const {
  if (kind_ != Kind::kBool) fail_kind(where, *this, "true or false");
  return bool_;
}

int64_t Json::as_integer(std::string_view where, int64_t low, int64_t high) const {
  const bool in_range = kind_ == Kind::kInteger && integer_ >= low && integer_ <= high;
  if (!in_range) fail_kind(where, *this, fmt::format("an integer from {} to {}", low, high));
  return integer_;
}

double Json::as_number(std::string_view where) const {
  double value = 0;
  if (kind_ == Kind::kInteger) {
    value = static_cast<double>(integer_);
  } else if (kind_ == Kind::kUnsigned) {
    value = static_cast<double>(unsigned_);
  } else if (kind_ == Kind::kDouble) {
    value = double_;
  } else {
    fail_kind(where, *this, "a number");
  }
  if (!std::isfinite(value)) fail_kind(where, *this, "a finite number");
  return value;
}

std::string_view Json::as_string(std::string_view where) const {
  if (kind_ != Kind::kString) fail_kind(where, *this, "a string");
  return string_;
}

std::span<const Json> Json::as_array(std::string_view where) const {
  if (kind_ != Kind::kArray) fail_kind(where, *this, "an array");
  return items_;
}

std::span<const Json::Member> Json::as_object(std::string_view where) const {
  if (kind_ != Kind::kObject) fail_kind(where, *this, "an object");
  return members_;
}

const Json* Json::find(std::string_view key) const noexcept {
  for (const Member& member : members_) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

std::string Json::describe() const {
  switch (kind_) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return bool_ ? "true" : "false";
    case Kind::kInteger:
      return std::to_string(integer_);
    case Kind::kUnsigned:
      return std::to_string(unsigned_);
    case Kind::kDouble:
      return fmt::format("{}", double_);
    case Kind::kString:
      return fmt::format("\"{}\"", printable(string_));
    case Kind::kArray:
      return fmt::format("an array of {}", items_.size());
    case Kind::kObject:
      return fmt::format("an object of {}", members_.size());
  }
  return "nothing";
}

JsonDocument::JsonDocument(std::string_view text, std::string_view file, const JsonLimits& limits)
    : storage_(std::make_unique<Storage>()) {
  if (text.size() > limits.max_bytes) {
    fail(file,
         fmt::format("{} bytes of JSON, allowed are {} (LIMIT)", text.size(), limits.max_bytes));
  }
  if (text.starts_with("\xef\xbb\xbf")) fail(file, "starts with a byte order mark (JSON)");
  simdjson::dom::element root;
  auto error = storage_->parser.allocate(std::max<size_t>(text.size(), 1),
                                         static_cast<size_t>(limits.max_depth));
  if (!error) error = storage_->parser.parse(text.data(), text.size()).get(root);
  if (error == simdjson::DEPTH_ERROR) {
    fail(file, fmt::format("nested deeper than {} levels (LIMIT)", limits.max_depth));
  }
  if (error == simdjson::MEMALLOC)
    throw Error(ErrorCode::kOutOfMemory,
                fmt::format("{}: no memory for {} bytes of JSON", file, text.size()));
  if (error) fail(file, fmt::format("{} (JSON)", simdjson::error_message(error)));
  storage_->root = JsonBuilder(file, limits.max_values).build(root);
}

JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

const Json& JsonDocument::root() const noexcept { return storage_->root; }

std::string json_quote(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const auto byte = static_cast<uint8_t>(text[0]);
    if (byte >= 0x80) {
      const size_t valid = valid_utf8_prefix(text.substr(0, 4));
      // The prefix may hold several characters; take the first one only.
      size_t length = valid == 0 ? 0 : (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2);
      if (length == 0 || length > valid) {
        out += "\xef\xbf\xbd";
        length = 1;
      } else {
        out.append(text, 0, length);
      }
      text.remove_prefix(length);
      continue;
    }
    if (byte == '"' || byte == '\\') {
      out += {'\\', text[0]};
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out.push_back(text[0]);
    }
    text.remove_prefix(1);
  }
  return out + "\"";
}

}  // namespace upg::base
