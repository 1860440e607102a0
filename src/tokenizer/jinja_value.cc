#include "tokenizer/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>

namespace upg::tokenizer::jinja {
namespace {

void print_json_string(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    constexpr std::string_view kPlain = "\"\\\n\r\t\b\f";
    constexpr std::string_view kShort = "\"\\nrtbf";
    const size_t known = kPlain.find(c);
    if (known != std::string_view::npos) {
      out += {'\\', kShort[known]};
    } else if (static_cast<uint8_t>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

Value::Value(List list) : depth_(1) {
  for (const Value& item : list) depth_ = std::max(depth_, item.depth_ + 1);
  data_ = std::make_shared<const List>(std::move(list));
}

Value::Value(Dict dict) : depth_(1) {
  for (const auto& [name, item] : dict) depth_ = std::max(depth_, item.depth_ + 1);
  data_ = std::make_shared<Dict>(std::move(dict));
}

Value::Value(Callable callable) : depth_(callable.self == nullptr ? 0 : callable.self->depth_ + 1) {
  data_ = std::move(callable);
}

const std::string* Value::string() const {
  const auto* shared = std::get_if<std::shared_ptr<const std::string>>(&data_);
  return shared == nullptr ? nullptr : shared->get();
}

const List* Value::list() const {
  const auto* shared = std::get_if<std::shared_ptr<const List>>(&data_);
  return shared == nullptr ? nullptr : shared->get();
}

Dict* Value::dict() const {
  const auto* shared = std::get_if<std::shared_ptr<Dict>>(&data_);
  return shared == nullptr ? nullptr : shared->get();
}

bool Value::truth() const {
  if (boolean() != nullptr) return *boolean();
  if (integer() != nullptr) return *integer() != 0;
  if (string() != nullptr) return !string()->empty();
  if (list() != nullptr) return !list()->empty();
  if (dict() != nullptr) return !dict()->empty();
  return callable() != nullptr;
}

const Value* Value::find(std::string_view key) const {
  if (dict() == nullptr) return nullptr;
  for (const auto& [name, value] : *dict()) {
    if (name == key) return &value;
  }
  return nullptr;
}

bool equal(const Value& a, const Value& b) {
  if (a.string() != nullptr && b.string() != nullptr) return *a.string() == *b.string();
  if (a.integer() != nullptr && b.integer() != nullptr) return *a.integer() == *b.integer();
  if (a.boolean() != nullptr && b.boolean() != nullptr) return *a.boolean() == *b.boolean();
  if (a.list() != nullptr && b.list() != nullptr) {
    return a.list() == b.list() || (a.list()->empty() && b.list()->empty());
  }
  if (a.dict() != nullptr && b.dict() != nullptr) return a.dict() == b.dict();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool print(const Value& value, std::string& out) {
  if (value.string() != nullptr) {
    out += *value.string();
  } else if (value.integer() != nullptr) {
    out += std::to_string(*value.integer());
  } else if (value.boolean() != nullptr) {
    out += *value.boolean() ? "True" : "False";
  } else if (value.is_none()) {
    out += "None";
  } else if (!value.is_undefined()) {
    return false;
  }
  return true;
}

bool print_json(const Value& value, std::string& out, int depth) {
  if (depth == 0) return false;
  const char* separator = "";
  if (value.string() != nullptr) {
    print_json_string(*value.string(), out);
  } else if (value.boolean() != nullptr) {
    out += *value.boolean() ? "true" : "false";
  } else if (value.is_none()) {
    out += "null";
  } else if (value.list() != nullptr) {
    out += '[';
    for (const Value& item : *value.list()) {
      out += std::exchange(separator, ", ");
      if (!print_json(item, out, depth - 1)) return false;
    }
    out += ']';
  } else if (value.dict() != nullptr) {
    out += '{';
    for (const auto& [name, item] : *value.dict()) {
      out += std::exchange(separator, ", ");
      print_json_string(name, out);
      out += ": ";
      if (!print_json(item, out, depth - 1)) return false;
    }
    out += '}';
  } else {
    return value.integer() != nullptr && print(value, out);
  }
  return true;
}

}  // namespace upg::tokenizer::jinja
