// Values of the template language: strings, whole numbers, lists, mappings. Private to jinja.cc and
// its neighbours.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace upg::tokenizer::jinja {

class Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<std::string, Value>>;

struct Undefined {};
struct None {};
// A name that can be called: a global function, or a method with the value before the dot.
struct Callable {
  std::string name;
  std::shared_ptr<const Value> self;  // null: a global function
};

// Copying shares strings and containers. Only a namespace() is changed after it was made, and by
// all who share it.
class Value {
 public:
  Value() = default;
  // NOLINTBEGIN(google-explicit-constructor): made to convert
  Value(None none) : data_(none) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(List list);
  Value(Dict dict);
  Value(Callable callable);
  // NOLINTEND(google-explicit-constructor)

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  // Null, or the value when it is of that kind.
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&data_); }
  const std::string* string() const;
  const List* list() const;
  Dict* dict() const;
  const Callable* callable() const { return std::get_if<Callable>(&data_); }

  int depth() const { return depth_; }            // of containers in containers; 0 for what is none
  bool truth() const;                             // as Python has it
  const Value* find(std::string_view key) const;  // a member of a mapping, or null

 private:
  std::variant<Undefined, None, bool, int64_t, std::shared_ptr<const std::string>,
               std::shared_ptr<const List>, std::shared_ptr<Dict>, Callable>
      data_;
  int depth_ = 0;
};

bool equal(const Value& a, const Value& b);
// What {{ }} prints. False for a value whose printed form this does not reproduce (containers).
bool print(const Value& value, std::string& out);
// JSON as Python's json.dumps(ensure_ascii=False) writes it; false as above. `depth` bounds
// nesting.
bool print_json(const Value& value, std::string& out, int depth = 16);

}  // namespace upg::tokenizer::jinja
