// Operators, filters, tests, methods and functions of the template language. Private to jinja.cc.
// Each throws Error(kUnsupported) for a name or an argument that is not known here.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/jinja_value.h"

namespace upg::tokenizer::jinja {

// What a rendering may still do: steps, and bytes copied or compared.
class Budget {
 public:
  void spend(int line, int64_t steps = 1);
  void spend_bytes(int line, size_t bytes);  // a value of that size; throws above kMaxTextBytes

 private:
  int64_t spent_ = 0;
};

// raise_exception() was called.
struct Raised {};

struct Arguments {
  List values;
  Dict named;
};

inline constexpr std::string_view kNamespaceMarker = " namespace";  // a member no template can name

// A namespace holds strings, numbers and truth values: nothing that could hold the namespace.
void check_plain(const Value& value, int line);
bool is_global(std::string_view name);
bool has_method(const Value& object, std::string_view name);
Value call_function(const Callable& function, const Arguments& arguments, Budget& budget, int line);
Value apply_filter(std::string_view name, const Arguments& arguments, Budget& budget, int line);
Value apply_test(std::string_view name, const Arguments& arguments, int line);
Value apply_operator(std::string_view name, const Value& left, const Value& right, Budget& budget,
                     int line);

}  // namespace upg::tokenizer::jinja
