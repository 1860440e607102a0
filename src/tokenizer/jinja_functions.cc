#include "tokenizer/jinja_functions.h"

#include <algorithm>
#include <span>

#include "base/text.h"
#include "tokenizer/jinja.h"
#include "tokenizer/jinja_lexer.h"
#include "tokenizer/unicode.h"

namespace upg::tokenizer::jinja {
namespace {

constexpr std::string_view kMethods[] = {"strip", "lstrip",     "rstrip",   "split",  "upper",
                                         "lower", "startswith", "endswith", "replace"};

[[noreturn]] void refuse_name(std::string_view kind, std::string_view name, int line) {
  template_error(line, fmt::format("{} \"{}\" is not known here", kind, base::printable(name)));
}

// The string argument at `index`; throws when it is absent or something else.
const std::string& text_at(const Arguments& arguments, size_t index, std::string_view name,
                           int line) {
  if (index >= arguments.values.size() || arguments.values[index].string() == nullptr) {
    template_error(line, fmt::format("{} of what is no string", base::printable(name)));
  }
  return *arguments.values[index].string();
}

// trim and strip: white space, or the characters (ASCII alone) that are given.
std::string stripped(const std::string& text, const std::string* characters, bool left, bool right,
                     int line) {
  if (characters != nullptr &&
      std::any_of(characters->begin(), characters->end(), [](char c) { return (c & 0x80) != 0; })) {
    template_error(line, "strip with characters beyond ASCII");
  }
  const auto goes = [&](const Char& c) {
    if (characters != nullptr) {
      return c.code < 0x80 && characters->find(static_cast<char>(c.code)) != std::string::npos;
    }
    return c.is(kSpace) || (c.code >= 0x1c && c.code <= 0x1f);  // Python's isspace
  };
  std::string_view rest = text;
  while (left && !rest.empty() && goes(char_at(rest, 0)))
    rest.remove_prefix(char_at(rest, 0).length);
  while (right && !rest.empty() && goes(char_before(rest, rest.size()))) {
    rest.remove_suffix(char_before(rest, rest.size()).length);
  }
  return std::string(rest);
}

// Upper and lower case, of ASCII alone.
std::string recased(const std::string& text, bool upper, int line) {
  std::string out = text;
  for (char& c : out) {
    if ((c & 0x80) != 0) template_error(line, "letter case beyond ASCII");
    if (upper && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    if (!upper && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

std::string replaced(const std::string& text, const std::string& from, const std::string& to,
                     Budget& budget, int line) {
  if (from.empty()) template_error(line, "replace of nothing");
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done).append(to);
    budget.spend_bytes(line, out.size() > kMaxTextBytes ? out.size() : to.size());
    done = at + from.size();
  }
  return out.append(text, done);
}

List split(const std::string& text, const std::string& separator, Budget& budget, int line) {
  if (separator.empty()) template_error(line, "split by nothing");
  List parts;
  size_t done = 0;
  for (size_t at = text.find(separator); at != std::string::npos; at = text.find(separator, done)) {
    budget.spend(line);
    parts.emplace_back(text.substr(done, at - done));
    done = at + separator.size();
  }
  parts.emplace_back(text.substr(done));
  return parts;
}

Value call_method(const std::string& name, const std::string& self, const Arguments& arguments,
                  Budget& budget, int line) {
  const std::string* first =
      arguments.values.empty() ? nullptr : &text_at(arguments, 0, name, line);
  const size_t needed = name == "replace" ? 2 : first != nullptr ? 1 : 0;
  const bool none = name == "upper" || name == "lower";
  const bool optional = none || name.ends_with("strip");
  if (!arguments.named.empty() || arguments.values.size() != needed || (none && first != nullptr) ||
      (!optional && first == nullptr)) {
    template_error(line, fmt::format("the arguments of {}", base::printable(name)));
  }
  budget.spend_bytes(line, self.size());
  if (name == "strip") return stripped(self, first, true, true, line);
  if (name == "lstrip") return stripped(self, first, true, false, line);
  if (name == "rstrip") return stripped(self, first, false, true, line);
  if (none) return recased(self, name == "upper", line);
  if (name == "startswith") return self.starts_with(*first);
  if (name == "endswith") return self.ends_with(*first);
  if (name == "split") return split(self, *first, budget, line);
  if (name == "replace") {
    return replaced(self, *first, text_at(arguments, 1, name, line), budget, line);
  }
  refuse_name("method", name, line);
}

int64_t length(const Value& value, int line) {
  if (value.list() != nullptr) return static_cast<int64_t>(value.list()->size());
  if (value.dict() != nullptr) return static_cast<int64_t>(value.dict()->size());
  if (value.string() == nullptr) template_error(line, "length of what has none");
  return std::count_if(value.string()->begin(), value.string()->end(),
                       [](char c) { return (c & 0xc0) != 0x80; });
}

std::string joined(const List& list, const std::string& separator, Budget& budget, int line) {
  std::string out;
  for (size_t i = 0; i < list.size(); ++i) {
    if (i > 0) out += separator;
    if (!print(list[i], out)) template_error(line, "join of lists");
    budget.spend_bytes(line, out.size() > kMaxTextBytes ? out.size() : separator.size());
  }
  return out;
}

Value arithmetic(std::string_view name, int64_t a, int64_t b, int line) {
  int64_t result = 0;
  if (name == "+" && !__builtin_add_overflow(a, b, &result)) return result;
  if (name == "-" && !__builtin_sub_overflow(a, b, &result)) return result;
  if (name == "*" && !__builtin_mul_overflow(a, b, &result)) return result;
  const bool divides = b > 0;  // rounds down, as Python does; others are not needed
  const int64_t rest = divides ? (a % b + b) % b : 0;
  if (name == "%" && divides && b < INT32_MAX) return rest;
  if (name == "//" && divides && b < INT32_MAX && a > INT64_MIN / 2) return (a - rest) / b;
  template_error(line, fmt::format("{} {} {}", a, name, b));
}

bool contains(const Value& container, const Value& item, Budget& budget, int line) {
  if (container.string() != nullptr && item.string() != nullptr) {
    return container.string()->find(*item.string()) != std::string::npos;
  }
  if (container.dict() != nullptr && item.string() != nullptr) {
    return container.find(*item.string()) != nullptr;
  }
  if (container.list() == nullptr) template_error(line, "in what is no container");
  budget.spend(line, static_cast<int64_t>(container.list()->size()));
  return std::any_of(container.list()->begin(), container.list()->end(),
                     [&](const Value& one) { return equal(one, item); });
}

Value add(const Value& left, const Value& right, Budget& budget, int line) {
  if (left.string() != nullptr && right.string() != nullptr) {
    budget.spend_bytes(line, left.string()->size() + right.string()->size());
    return *left.string() + *right.string();
  }
  if (left.list() != nullptr && right.list() != nullptr) {
    List list = *left.list();
    budget.spend(line, static_cast<int64_t>(list.size() + right.list()->size()));
    list.insert(list.end(), right.list()->begin(), right.list()->end());
    return list;
  }
  template_error(line, "+ of values of different kinds");
}

Value concatenated(const Value& left, const Value& right, Budget& budget, int line) {
  std::string out;
  if (!print(left, out) || !print(right, out)) template_error(line, "~ of a list");
  budget.spend_bytes(line, out.size());
  return out;
}

bool less(const Value& left, const Value& right, int line) {
  if (left.integer() != nullptr && right.integer() != nullptr) {
    return *left.integer() < *right.integer();
  }
  template_error(line, "< of values that are no numbers");
}

// Bytes that comparing two values may read: lists are compared by identity.
size_t text_size(const Value& value) {
  return value.string() == nullptr ? 0 : value.string()->size();
}

}  // namespace

void Budget::spend(int line, int64_t steps) {
  spent_ += steps;
  if (spent_ > kMaxSteps) template_error(line, "too many steps");
}

void Budget::spend_bytes(int line, size_t bytes) {
  if (bytes > kMaxTextBytes) template_error(line, "too long a text");
  spend(line, 1 + static_cast<int64_t>(bytes / 16));
}

void check_plain(const Value& value, int line) {
  const bool holds =
      value.dict() != nullptr || value.list() != nullptr || value.callable() != nullptr;
  if (holds) template_error(line, "a list or mapping in a namespace");
}

bool is_global(std::string_view name) { return name == "raise_exception" || name == "namespace"; }

bool has_method(const Value& object, std::string_view name) {
  if (object.dict() != nullptr) {
    return object.find(kNamespaceMarker) == nullptr &&
           (name == "get" || name == "items" || name == "keys");
  }
  return object.string() != nullptr &&
         std::find(std::begin(kMethods), std::end(kMethods), name) != std::end(kMethods);
}

Value call_function(const Callable& function, const Arguments& arguments, Budget& budget,
                    int line) {
  if (function.self == nullptr) {
    if (function.name == "raise_exception") throw Raised{};
    if (!arguments.values.empty()) template_error(line, "the arguments of namespace");
    Dict members{{std::string(kNamespaceMarker), Value(true)}};
    for (const auto& [name, value] : arguments.named) {
      check_plain(value, line);
      members.emplace_back(name, value);
    }
    return members;
  }
  if (function.self->string() != nullptr) {
    return call_method(function.name, *function.self->string(), arguments, budget, line);
  }
  const Dict& dict = *function.self->dict();
  if (function.name == "get" && !arguments.values.empty() && arguments.values.size() <= 2) {
    const Value* found = function.self->find(text_at(arguments, 0, "get", line));
    if (found != nullptr) return *found;
    return arguments.values.size() == 2 ? arguments.values[1] : Value(None{});
  }
  if (!arguments.values.empty() || function.name == "get") {
    template_error(line, fmt::format("the arguments of {}", function.name));
  }
  List list;
  for (const auto& [name, value] : dict) {
    budget.spend(line);
    list.push_back(function.name == "keys" ? Value(name) : Value(List{Value(name), value}));
  }
  return list;
}

Value apply_filter(std::string_view name, const Arguments& arguments, Budget& budget, int line) {
  const Value& value = arguments.values.front();
  const size_t extra = arguments.values.size() - 1;
  if (!arguments.named.empty()) refuse_name("an argument of filter", name, line);
  if (value.find(kNamespaceMarker) != nullptr) template_error(line, "a filter of a namespace");
  if (name == "default" && extra == 1) return value.is_undefined() ? arguments.values[1] : value;
  if (name == "join" && extra <= 1 && value.list() != nullptr) {
    return joined(*value.list(), extra == 1 ? text_at(arguments, 1, name, line) : "", budget, line);
  }
  if (name == "replace" && extra == 2) {
    return replaced(text_at(arguments, 0, name, line), text_at(arguments, 1, name, line),
                    text_at(arguments, 2, name, line), budget, line);
  }
  if (extra != 0) refuse_name("an argument of filter", name, line);
  budget.spend_bytes(line, text_size(value));
  if (name == "trim") return stripped(text_at(arguments, 0, name, line), nullptr, true, true, line);
  if (name == "upper" || name == "lower") {
    return recased(text_at(arguments, 0, name, line), name == "upper", line);
  }
  if (name == "length" || name == "count") return length(value, line);
  if (name == "safe") return value;
  if (name == "list" && value.list() != nullptr) return value;
  if ((name == "first" || name == "last") && value.list() != nullptr) {
    if (value.list()->empty()) return {};
    return name == "first" ? value.list()->front() : value.list()->back();
  }
  std::string text;
  if (name == "string" && print(value, text)) return text;
  if (name == "tojson" && print_json(value, text)) return text;
  refuse_name("filter", name, line);
}

Value apply_test(std::string_view name, const Arguments& arguments, int line) {
  const Value& value = arguments.values.front();
  if (arguments.values.size() > 1 || !arguments.named.empty()) {
    refuse_name("an argument of test", name, line);
  }
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.is_none();
  if (name == "string") return value.string() != nullptr;
  if (name == "mapping") return value.dict() != nullptr;
  if (name == "boolean") return value.boolean() != nullptr;
  if (name == "true") return value.boolean() != nullptr && *value.boolean();
  if (name == "false") return value.boolean() != nullptr && !*value.boolean();
  if (name == "number") return value.integer() != nullptr || value.boolean() != nullptr;
  if (name == "integer") return value.integer() != nullptr;
  if (name == "iterable" || name == "sequence") {
    return value.string() != nullptr || value.list() != nullptr || value.dict() != nullptr ||
           (name == "iterable" && value.is_undefined());
  }
  refuse_name("test", name, line);
}

Value apply_operator(std::string_view name, const Value& left, const Value& right, Budget& budget,
                     int line) {
  budget.spend_bytes(line, std::min(text_size(left), text_size(right)));
  if (name == "==" || name == "!=") {
    // Jinja compares True and 1, and lists by their members: neither is needed.
    const bool mixed = (left.boolean() != nullptr && right.integer() != nullptr) ||
                       (left.integer() != nullptr && right.boolean() != nullptr) ||
                       (left.list() != nullptr && right.list() != nullptr) ||
                       (left.dict() != nullptr && right.dict() != nullptr);
    if (mixed) template_error(line, "== of lists, or of a truth value and a number");
    return equal(left, right) == (name == "==");
  }
  if (name == "in") return contains(right, left, budget, line);
  if (name == "not in") return !contains(right, left, budget, line);
  if (name == "~") return concatenated(left, right, budget, line);
  if (name == "<") return less(left, right, line);
  if (name == ">") return less(right, left, line);
  if (name == "<=") return !less(right, left, line);
  if (name == ">=") return !less(left, right, line);
  if (left.integer() != nullptr && right.integer() != nullptr) {
    return arithmetic(name, *left.integer(), *right.integer(), line);
  }
  if (name == "+") return add(left, right, budget, line);
  template_error(line, fmt::format("{} of values that are no numbers", name));
}

}  // namespace upg::tokenizer::jinja
