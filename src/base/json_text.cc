#include "base/json_text.h"

#include <fmt/format.h>

namespace upg::base {
namespace {

// Recursion is as deep as the value, which was bounded when it was read.
class Writer {
 public:
  explicit Writer(int indent) : indent_(indent) {}

  void write(const Json& value, int depth) {
    switch (value.kind()) {
      case Json::Kind::kString:
        out_ += json_quote(value.as_string("value"));
        return;
      case Json::Kind::kDouble:
        return write_double(value.as_number("value"));
      case Json::Kind::kArray:
        return write_array(value.as_array("value"), depth);
      case Json::Kind::kObject:
        return write_object(value.as_object("value"), depth);
      default:
        out_ += value.describe();
    }
  }

  std::string take() { return std::move(out_); }

 private:
  void write_double(double value) {
    const std::string digits = fmt::format("{}", value);
    out_ += digits;
    if (digits.find_first_of(".e") == std::string::npos) out_ += ".0";
  }

  void write_array(std::span<const Json> items, int depth) {
    if (items.empty()) return out_ += "[]", void();
    out_ += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      separate(i > 0, depth + 1);
      write(items[i], depth + 1);
    }
    break_line(depth);
    out_ += ']';
  }

  void write_object(std::span<const Json::Member> members, int depth) {
    if (members.empty()) return out_ += "{}", void();
    out_ += '{';
    for (size_t i = 0; i < members.size(); ++i) {
      separate(i > 0, depth + 1);
      out_ += json_quote(members[i].key) + ": ";
      write(members[i].value, depth + 1);
    }
    break_line(depth);
    out_ += '}';
  }

  void separate(bool comma, int depth) {
    if (comma) out_ += indent_ < 0 ? ", " : ",";
    break_line(depth);
  }

  void break_line(int depth) {
    if (indent_ < 0) return;
    out_ += '\n';
    for (int i = 0; i < depth; ++i) out_.append(static_cast<size_t>(indent_), ' ');
  }

  int indent_;
  std::string out_;
};

}  // namespace

std::string json_text(const Json& value, int indent) {
  Writer writer(indent);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace upg::base
