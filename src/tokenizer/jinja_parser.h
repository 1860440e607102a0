// The syntax tree of a template. Private to jinja.cc and its neighbours.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace upg::tokenizer::jinja {

struct Node;
using NodePtr = std::unique_ptr<Node>;

struct Node {
  enum class Kind {
    // statements
    kText,   // text
    kPrint,  // [expression]
    kIf,     // [condition, body, else body or null]
    kFor,    // names; [iterable, filter or null, body, else body or null]
    kSet,    // text = name, or names = {namespace, member}; [value]
    kBody,   // statements
    // expressions
    kConstant,     // text, number by constant
    kName,         // text
    kList,         // items
    kDict,         // key, value, key, value
    kMember,       // text; [object]
    kItem,         // [object, index]
    kSlice,        // [object, from or null, to or null, step or null]
    kCall,         // names of keyword arguments at the end; [callee, arguments]
    kFilter,       // text; [value, arguments]
    kTest,         // text; [value, argument or none]
    kUnary,        // text = "not", "-"
    kBinary,       // text = operator
    kConditional,  // [condition, then, else or null]
  };
  enum class Constant { kString, kInteger, kTrue, kFalse, kNone };

  Kind kind = Kind::kText;
  int line = 0;
  std::string text;
  int64_t number = 0;
  Constant constant = Constant::kString;
  std::vector<std::string> names;
  std::vector<NodePtr> children;
};

// Throws Error(kUnsupported) naming the line for what is wrong or not known here. Nesting
// and size are bounded.
NodePtr parse(std::string_view text);

}  // namespace upg::tokenizer::jinja
