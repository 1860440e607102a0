#include "tokenizer/jinja_parser.h"

#include <charconv>
#include <initializer_list>

#include "base/text.h"
#include "tokenizer/jinja_lexer.h"

namespace upg::tokenizer::jinja {
namespace {

using Kind = Token::Kind;

constexpr int kMaxDepth = 120;  // a bracket takes three, a block two
constexpr int kMaxChain = 200;  // operators or suffixes in a row
constexpr size_t kMaxNodes = 65536;

class Parser {
 public:
  explicit Parser(std::string_view text) : tokens_(tokenize(text)) {}

  NodePtr run() {
    NodePtr root = body();
    if (peek().kind != Kind::kEnd) fail("a block ends that did not begin");
    return root;
  }

 private:
  // Guards recursion: one for each nested body, bracket or operator chain.
  struct Level {
    explicit Level(Parser& parser) : depth(parser.depth_) {
      if (++depth > kMaxDepth) parser.fail("nested too deep");
    }
    ~Level() { --depth; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    int& depth;
  };

  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  [[noreturn]] void fail(std::string_view what) const { template_error(peek().line, what); }
  [[noreturn]] void fail_at_token() const {
    fail(fmt::format("unexpected \"{}\"", base::printable(peek().text)));
  }

  bool is(Kind kind, std::string_view text) const {
    return peek().kind == kind && peek().text == text;
  }
  bool is_operator(std::string_view text) const { return is(Kind::kOperator, text); }
  bool accept(Kind kind, std::string_view text) {
    if (!is(kind, text)) return false;
    ++at_;
    return true;
  }
  bool accept_operator(std::string_view text) { return accept(Kind::kOperator, text); }
  bool accept_word(std::string_view text) { return accept(Kind::kName, text); }
  void expect_operator(std::string_view text) {
    if (!accept_operator(text)) fail_at_token();
  }
  void expect(Kind kind) {
    if (peek().kind != kind) fail_at_token();
    ++at_;
  }
  std::string name() {
    if (peek().kind != Kind::kName) fail_at_token();
    return tokens_[at_++].text;
  }

  NodePtr make(Node::Kind kind, std::string_view text = {}) {
    if (++nodes_ > kMaxNodes) fail("too large");
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = peek().line;
    node->text = std::string(text);
    return node;
  }
  template <typename... Children>
  NodePtr make_with(Node::Kind kind, std::string_view text, Children... children) {
    NodePtr node = make(kind, text);
    (node->children.push_back(std::move(children)), ...);
    return node;
  }

  // ---- statements

  // Up to a block that it does not know (endfor, else ...), which the caller takes.
  NodePtr body() {
    const Level level(*this);
    NodePtr node = make(Node::Kind::kBody);
    while (true) {
      if (peek().kind == Kind::kText) {
        node->children.push_back(make(Node::Kind::kText, peek().text));
        ++at_;
      } else if (peek().kind == Kind::kPrintBegin) {
        ++at_;
        node->children.push_back(make_with(Node::Kind::kPrint, "", expression()));
        expect(Kind::kPrintEnd);
      } else if (NodePtr block = block_statement()) {
        node->children.push_back(std::move(block));
      } else {
        return node;
      }
    }
  }

  NodePtr block_statement() {
    if (peek().kind != Kind::kBlockBegin) return nullptr;
    const std::string& word = peek(1).text;
    if (word == "elif" || word == "else" || word == "endif" || word == "endfor") return nullptr;
    ++at_;
    if (accept_word("if")) return if_statement();
    if (accept_word("for")) return for_statement();
    if (accept_word("set")) return set_statement();
    fail(fmt::format("unknown statement \"{}\"", base::printable(word)));
  }

  bool accept_block(std::string_view word) {
    if (peek().kind != Kind::kBlockBegin || peek(1).kind != Kind::kName || peek(1).text != word) {
      return false;
    }
    at_ += 2;
    return true;
  }
  void end_block(std::string_view word) {
    if (!accept_block(word)) fail(fmt::format("{} is missing", word));
    expect(Kind::kBlockEnd);
  }

  NodePtr if_statement() {
    const Level level(*this);
    NodePtr condition = expression();
    expect(Kind::kBlockEnd);
    NodePtr then = body();
    NodePtr otherwise;
    if (accept_block("elif")) {
      otherwise = if_statement();  // takes the endif
    } else {
      if (accept_block("else")) {
        expect(Kind::kBlockEnd);
        otherwise = body();
      }
      end_block("endif");
    }
    return make_with(Node::Kind::kIf, "", std::move(condition), std::move(then),
                     std::move(otherwise));
  }

  NodePtr for_statement() {
    NodePtr node = make(Node::Kind::kFor);
    do {
      node->names.push_back(name());
    } while (accept_operator(","));
    if (!accept_word("in")) fail_at_token();
    node->children.push_back(or_expression());
    node->children.push_back(accept_word("if") ? expression() : nullptr);
    expect(Kind::kBlockEnd);
    node->children.push_back(body());
    NodePtr otherwise;
    if (accept_block("else")) {
      expect(Kind::kBlockEnd);
      otherwise = body();
    }
    node->children.push_back(std::move(otherwise));
    end_block("endfor");
    return node;
  }

  NodePtr set_statement() {
    NodePtr node = make(Node::Kind::kSet);
    node->text = name();
    if (accept_operator(".")) node->names = {node->text, name()};
    expect_operator("=");
    node->children.push_back(expression());
    expect(Kind::kBlockEnd);
    return node;
  }

  // ---- expressions, loosest first

  NodePtr expression() {
    const Level level(*this);
    NodePtr value = or_expression();
    while (accept_word("if")) {
      NodePtr condition = or_expression();
      NodePtr otherwise = accept_word("else") ? expression() : nullptr;
      value = make_with(Node::Kind::kConditional, "", std::move(condition), std::move(value),
                        std::move(otherwise));
    }
    return value;
  }

  NodePtr or_expression() {
    NodePtr left = and_expression();
    for (int i = 0; accept_word("or"); ++i)
      left = binary(i, "or", std::move(left), and_expression());
    return left;
  }

  NodePtr and_expression() {
    NodePtr left = not_expression();
    for (int i = 0; accept_word("and"); ++i) {
      left = binary(i, "and", std::move(left), not_expression());
    }
    return left;
  }

  NodePtr not_expression() {
    const Level level(*this);
    if (accept_word("not")) return make_with(Node::Kind::kUnary, "not", not_expression());
    return comparison();
  }

  NodePtr comparison() {
    NodePtr left = sum();
    std::string operation = comparison_operator();
    if (operation.empty()) return left;
    left = binary(0, operation, std::move(left), sum());
    if (!comparison_operator().empty()) fail("a chain of comparisons");
    return left;
  }

  std::string comparison_operator() {
    for (const std::string_view one : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (accept_operator(one)) return std::string(one);
    }
    if (accept_word("in")) return "in";
    if (is(Kind::kName, "not") && peek(1).kind == Kind::kName && peek(1).text == "in") {
      at_ += 2;
      return "not in";
    }
    return "";
  }

  NodePtr sum() {
    return chain({"+", "-"}, [this] { return concatenation(); });
  }
  NodePtr concatenation() {
    return chain({"~"}, [this] { return product(); });
  }
  NodePtr product() {
    return chain({"*", "//", "/", "%"}, [this] { return unary(); });
  }

  template <typename Next>
  NodePtr chain(std::initializer_list<std::string_view> operators, Next next) {
    NodePtr left = next();
    for (int i = 0;; ++i) {
      std::string_view found;
      for (const std::string_view one : operators) {
        if (found.empty() && accept_operator(one)) found = one;
      }
      if (found.empty()) return left;
      left = binary(i, found, std::move(left), next());
    }
  }

  // `length`: of the chain so far, which is as deep as it is long when it is evaluated.
  NodePtr binary(int length, std::string_view text, NodePtr left, NodePtr right) {
    if (length > kMaxChain) fail("too long an expression");
    return make_with(Node::Kind::kBinary, text, std::move(left), std::move(right));
  }

  NodePtr unary() {
    const Level level(*this);
    if (accept_operator("-")) return make_with(Node::Kind::kUnary, "-", unary());
    return postfix(primary());
  }

  NodePtr postfix(NodePtr value) {
    for (int i = 0; i < kMaxChain; ++i) {
      if (accept_operator(".")) {
        value = make_with(Node::Kind::kMember, name(), std::move(value));
      } else if (accept_operator("[")) {
        value = subscript(std::move(value));
      } else if (accept_operator("(")) {
        value = make_with(Node::Kind::kCall, "", std::move(value));
        arguments(*value);
      } else if (accept_operator("|")) {
        value = make_with(Node::Kind::kFilter, name(), std::move(value));
        if (accept_operator("(")) arguments(*value);
      } else if (accept_word("is")) {
        value = test(std::move(value));
      } else {
        return value;
      }
    }
    fail("too long an expression");
  }

  NodePtr test(NodePtr value) {
    const bool negated = accept_word("not");
    NodePtr node = make_with(Node::Kind::kTest, name(), std::move(value));
    if (accept_operator("(")) arguments(*node);
    return negated ? make_with(Node::Kind::kUnary, "not", std::move(node)) : std::move(node);
  }

  NodePtr subscript(NodePtr object) {
    NodePtr parts[3];
    int colons = 0;
    if (!is_operator(":")) parts[0] = expression();
    while (colons < 2 && accept_operator(":")) {
      ++colons;
      if (!is_operator(":") && !is_operator("]")) parts[colons] = expression();
    }
    expect_operator("]");
    if (colons == 0) {
      return make_with(Node::Kind::kItem, "", std::move(object), std::move(parts[0]));
    }
    return make_with(Node::Kind::kSlice, "", std::move(object), std::move(parts[0]),
                     std::move(parts[1]), std::move(parts[2]));
  }

  // Behind "(": positional ones, then name=value.
  void arguments(Node& call) {
    while (!accept_operator(")")) {
      const bool keyword =
          peek().kind == Kind::kName && peek(1).kind == Kind::kOperator && peek(1).text == "=";
      if (keyword) {
        call.names.push_back(name());
        ++at_;
      } else if (!call.names.empty()) {
        fail_at_token();
      }
      call.children.push_back(expression());
      if (!accept_operator(",") && !is_operator(")")) fail_at_token();
    }
  }

  NodePtr primary() {
    const Token& token = peek();
    if (token.kind == Kind::kString) return string_constant();
    if (token.kind == Kind::kInteger) {
      NodePtr node = make(Node::Kind::kConstant);
      node->constant = Node::Constant::kInteger;
      std::from_chars(token.text.data(), token.text.data() + token.text.size(), node->number);
      ++at_;
      return node;
    }
    if (token.kind == Kind::kName) return name_or_constant();
    if (accept_operator("(")) {
      NodePtr value = expression();
      expect_operator(")");
      return value;
    }
    if (accept_operator("[")) return list();
    if (accept_operator("{")) return dict();
    fail_at_token();
  }

  NodePtr string_constant() {
    NodePtr node = make(Node::Kind::kConstant);
    while (peek().kind == Kind::kString) node->text += tokens_[at_++].text;  // neighbours join
    return node;
  }

  NodePtr name_or_constant() {
    const std::string word = name();
    NodePtr node = make(Node::Kind::kConstant);
    if (word == "true" || word == "True") {
      node->constant = Node::Constant::kTrue;
    } else if (word == "false" || word == "False") {
      node->constant = Node::Constant::kFalse;
    } else if (word == "none" || word == "None") {
      node->constant = Node::Constant::kNone;
    } else {
      node->kind = Node::Kind::kName;
      node->text = word;
    }
    return node;
  }

  NodePtr list() {
    NodePtr node = make(Node::Kind::kList);
    while (!accept_operator("]")) {
      node->children.push_back(expression());
      if (!accept_operator(",") && !is_operator("]")) fail_at_token();
    }
    return node;
  }

  NodePtr dict() {
    NodePtr node = make(Node::Kind::kDict);
    while (!accept_operator("}")) {
      node->children.push_back(expression());
      expect_operator(":");
      node->children.push_back(expression());
      if (!accept_operator(",") && !is_operator("}")) fail_at_token();
    }
    return node;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  size_t nodes_ = 0;
  int depth_ = 0;
};

}  // namespace

NodePtr parse(std::string_view text) { return Parser(text).run(); }

}  // namespace upg::tokenizer::jinja
