#include "tokenizer/jinja.h"

#include <algorithm>

#include "base/text.h"
#include "tokenizer/jinja_functions.h"
#include "tokenizer/jinja_lexer.h"
#include "tokenizer/jinja_parser.h"

namespace upg::tokenizer::jinja {
namespace {

using Kind = Node::Kind;

class Evaluator {
 public:
  explicit Evaluator(const Dict& variables) : scopes_{variables} {}

  std::string run(const Node& root) {
    statement(root);
    return std::move(out_);
  }

 private:
  // ---- statements

  void statement(const Node& node) {
    budget_.spend(node.line);
    switch (node.kind) {
      case Kind::kBody:
        for (const NodePtr& child : node.children) statement(*child);
        return;
      case Kind::kText:
        return append(node, node.text);
      case Kind::kPrint: {
        std::string text;
        if (!print(expression(*node.children[0]), text)) template_error(node.line, "prints a list");
        return append(node, text);
      }
      case Kind::kIf: {
        const auto& branch = node.children[expression(*node.children[0]).truth() ? 1 : 2];
        if (branch != nullptr) statement(*branch);
        return;
      }
      case Kind::kFor:
        return for_statement(node);
      case Kind::kSet:
        return set_statement(node);
      default:
        template_error(node.line, "not a statement");
    }
  }

  void append(const Node& node, std::string_view text) {
    budget_.spend_bytes(node.line, text.size());
    if (out_.size() + text.size() > kMaxTextBytes) template_error(node.line, "too long an output");
    out_ += text;
  }

  void for_statement(const Node& node) {
    const Value iterable = expression(*node.children[0]);
    if (iterable.list() == nullptr) template_error(node.line, "a loop over what is no list");
    List items;
    for (const Value& item : *iterable.list()) {
      budget_.spend(node.line);
      scopes_.emplace_back();
      bind(node, item);
      if (node.children[1] == nullptr || expression(*node.children[1]).truth()) {
        items.push_back(item);
      }
      scopes_.pop_back();
    }
    for (size_t i = 0; i < items.size(); ++i) {
      scopes_.emplace_back();
      scopes_.back().emplace_back("loop", loop_variable(items, i));
      bind(node, items[i]);
      statement(*node.children[2]);
      scopes_.pop_back();
    }
    if (items.empty() && node.children[3] != nullptr) statement(*node.children[3]);
  }

  void bind(const Node& node, const Value& item) {
    if (node.names.size() == 1) return scopes_.back().emplace_back(node.names[0], item), void();
    if (item.list() == nullptr || item.list()->size() != node.names.size()) {
      template_error(node.line, "a loop that cannot unpack its items");
    }
    for (size_t i = 0; i < node.names.size(); ++i) {
      scopes_.back().emplace_back(node.names[i], (*item.list())[i]);
    }
  }

  static Value loop_variable(const List& items, size_t i) {
    const auto number = [](size_t value) { return Value(static_cast<int64_t>(value)); };
    Dict loop{{"index0", number(i)},
              {"index", number(i + 1)},
              {"revindex0", number(items.size() - i - 1)},
              {"revindex", number(items.size() - i)},
              {"length", number(items.size())},
              {"first", Value(i == 0)},
              {"last", Value(i + 1 == items.size())}};
    if (i > 0) loop.emplace_back("previtem", items[i - 1]);
    if (i + 1 < items.size()) loop.emplace_back("nextitem", items[i + 1]);
    return loop;
  }

  void set_statement(const Node& node) {
    Value value = expression(*node.children[0]);
    if (node.names.empty()) return assign(scopes_.back(), node.text, std::move(value));
    const Value space = lookup(node.names[0]);
    const Value* marker = space.find(kNamespaceMarker);
    if (marker == nullptr) template_error(node.line, "a member is set of what is no namespace");
    if (value.dict() != nullptr)
      template_error(node.line, "a mapping in a namespace");  // no cycles
    assign(*space.dict(), node.names[1], std::move(value));
  }

  static void assign(Dict& dict, const std::string& name, Value value) {
    for (auto& [known, slot] : dict) {
      if (known == name) return slot = std::move(value), void();
    }
    dict.emplace_back(name, std::move(value));
  }

  // ---- expressions

  Value lookup(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      for (const auto& [known, value] : *scope) {
        if (known == name) return value;
      }
    }
    return is_global(name) ? Value(Callable{std::string(name), nullptr}) : Value();
  }

  Value expression(const Node& node) {
    constexpr int kMaxValueDepth = 32;  // destroying one must not exhaust the stack
    budget_.spend(node.line);
    Value value = evaluate(node);
    if (value.depth() > kMaxValueDepth) template_error(node.line, "lists nested too deep");
    return value;
  }

  Value evaluate(const Node& node) {
    switch (node.kind) {
      case Kind::kConstant:
        return constant(node);
      case Kind::kName:
        return lookup(node.text);
      case Kind::kList:
        return List(values(node, 0));
      case Kind::kDict:
        return dict(node);
      case Kind::kMember:
        return member(node, expression(*node.children[0]), node.text);
      case Kind::kItem:
        return item(node);
      case Kind::kSlice:
        return slice(node);
      case Kind::kCall:
        return call(node);
      case Kind::kFilter:
        return apply_filter(node.text, arguments(node), budget_, node.line);
      case Kind::kTest:
        return apply_test(node.text, arguments(node), node.line);
      case Kind::kUnary:
        return unary(node);
      case Kind::kBinary:
        return binary(node);
      case Kind::kConditional:
        if (expression(*node.children[0]).truth()) return expression(*node.children[1]);
        return node.children[2] == nullptr ? Value() : expression(*node.children[2]);
      default:
        template_error(node.line, "not an expression");
    }
  }

  static Value constant(const Node& node) {
    switch (node.constant) {
      case Node::Constant::kString:
        return node.text;
      case Node::Constant::kInteger:
        return node.number;
      case Node::Constant::kTrue:
        return true;
      case Node::Constant::kFalse:
        return false;
      case Node::Constant::kNone:
        break;
    }
    return None{};
  }

  List values(const Node& node, size_t first) {
    List list;
    for (size_t i = first; i < node.children.size(); ++i) {
      list.push_back(expression(*node.children[i]));
    }
    return list;
  }

  // Of a filter, test or call: the value it is applied to, then the positional ones.
  Arguments arguments(const Node& node) {
    Arguments arguments;
    List all = values(node, 0);
    const size_t positional = all.size() - node.names.size();
    for (size_t i = 0; i < node.names.size(); ++i) {
      arguments.named.emplace_back(node.names[i], all[positional + i]);
    }
    all.resize(positional);
    arguments.values = std::move(all);
    return arguments;
  }

  Value dict(const Node& node) {
    Dict dict;
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const Value key = expression(*node.children[i]);
      if (key.string() == nullptr) template_error(node.line, "a key that is no string");
      assign(dict, *key.string(), expression(*node.children[i + 1]));
    }
    return dict;
  }

  Value member(const Node& node, const Value& object, const std::string& name) {
    if (object.is_undefined()) template_error(node.line, "a member of what is undefined");
    if (const Value* found = object.find(name)) return *found;
    if (has_method(object, name)) return Callable{name, std::make_shared<const Value>(object)};
    return {};
  }

  Value item(const Node& node) {
    const Value object = expression(*node.children[0]);
    const Value index = expression(*node.children[1]);
    if (index.string() != nullptr && object.dict() != nullptr) {
      const Value* found = object.find(*index.string());
      return found == nullptr ? Value() : *found;
    }
    if (object.list() == nullptr || index.integer() == nullptr) {
      template_error(node.line, "an index of what has none");
    }
    const auto size = static_cast<int64_t>(object.list()->size());
    const int64_t at = *index.integer() < 0 ? *index.integer() + size : *index.integer();
    return at < 0 || at >= size ? Value() : (*object.list())[static_cast<size_t>(at)];
  }

  Value slice(const Node& node) {
    const Value object = expression(*node.children[0]);
    if (object.list() == nullptr) template_error(node.line, "a slice of what is no list");
    const auto size = static_cast<int64_t>(object.list()->size());
    const int64_t step = bound(node, 3, 1);
    if (step != 1 && step != -1) template_error(node.line, "a slice with a step");
    const auto place = [&](size_t child, int64_t fallback) {
      const int64_t at = bound(node, child, fallback);
      const int64_t from_start = at < 0 && node.children[child] != nullptr ? at + size : at;
      return std::clamp<int64_t>(from_start, step > 0 ? 0 : -1, step > 0 ? size : size - 1);
    };
    const int64_t from = place(1, step > 0 ? 0 : size - 1);
    const int64_t to = place(2, step > 0 ? size : -1);
    List list;
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
      budget_.spend(node.line);
      list.push_back((*object.list())[static_cast<size_t>(i)]);
    }
    return list;
  }

  int64_t bound(const Node& node, size_t child, int64_t fallback) {
    if (node.children[child] == nullptr) return fallback;
    const Value value = expression(*node.children[child]);
    constexpr int64_t kLimit = int64_t{1} << 40;
    if (value.integer() == nullptr || *value.integer() > kLimit || *value.integer() < -kLimit) {
      template_error(node.line, "a slice that is not between whole numbers");
    }
    return *value.integer();
  }

  Value call(const Node& node) {
    Arguments given = arguments(node);
    const Value callee = given.values.front();
    if (callee.callable() == nullptr) template_error(node.line, "a call of what is no function");
    given.values.erase(given.values.begin());
    return call_function(*callee.callable(), given, budget_, node.line);
  }

  Value unary(const Node& node) {
    const Value value = expression(*node.children[0]);
    if (node.text == "not") return !value.truth();
    if (value.integer() == nullptr || *value.integer() == INT64_MIN) {
      template_error(node.line, "minus before what is no number");
    }
    return -*value.integer();
  }

  Value binary(const Node& node) {
    Value left = expression(*node.children[0]);
    if (node.text == "and") return left.truth() ? expression(*node.children[1]) : left;
    if (node.text == "or") return left.truth() ? left : expression(*node.children[1]);
    return apply_operator(node.text, left, expression(*node.children[1]), budget_, node.line);
  }

  std::vector<Dict> scopes_;
  std::string out_;
  Budget budget_;
};

}  // namespace

Template::Template(std::string_view text) {
  if (text.size() > kMaxTemplateBytes) {
    throw Error(ErrorCode::kInvalidData,
                fmt::format("chat template: found {} bytes, allowed are {} (LIMIT)", text.size(),
                            kMaxTemplateBytes));
  }
  root_ = parse(text);
}

Template::~Template() = default;

std::optional<std::string> Template::render(const Dict& variables) const {
  try {
    return Evaluator(variables).run(*root_);
  } catch (const Raised&) {
    return std::nullopt;
  }
}

}  // namespace upg::tokenizer::jinja
