#include "tokenizer/jinja_lexer.h"

#include <algorithm>

#include "base/text.h"

namespace upg::tokenizer::jinja {
namespace {

using Kind = Token::Kind;

constexpr std::string_view kBlank = " \t\n\r\f\v";

bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The source with "\n" line ends and without a last one, as Jinja reads it.
std::string normalized(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      out += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      out += text[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : source_(normalized(text)), text_(source_) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) {
      const size_t begin = find_tag();
      add_text(begin);
      if (begin == text_.size()) break;
      at_ = begin;
      tag();
    }
    add(Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  size_t find_tag() const {
    for (size_t i = text_.find('{', at_); i != std::string_view::npos; i = text_.find('{', i + 1)) {
      const char next = i + 1 < text_.size() ? text_[i + 1] : ' ';
      if (next == '{' || next == '%' || next == '#') return i;
    }
    return text_.size();
  }

  // The text up to `end`, less what the tag at `end` takes of it.
  void add_text(size_t end) {
    std::string_view text = text_.substr(at_, end - at_);
    if (strip_left_) text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
    const char kind = end + 1 < text_.size() ? text_[end + 1] : ' ';
    const char sign = end + 2 < text_.size() ? text_[end + 2] : ' ';
    if (end < text_.size() && sign == '-') {
      text = text.substr(0, text.find_last_not_of(kBlank) + 1);
    } else if (end < text_.size() && kind != '{' && sign != '+') {
      text = without_indent(text);
    }
    if (!text.empty()) add(Kind::kText, text);
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    strip_left_ = false;
  }

  // lstrip_blocks: spaces before a block go when nothing else stands before it on its line.
  std::string_view without_indent(std::string_view text) const {
    const size_t kept = text.find_last_not_of(" \t") + 1;
    const bool line_start = kept == 0 ? at_ == 0 || text_[at_ - 1] == '\n' : text[kept - 1] == '\n';
    return line_start ? text.substr(0, kept) : text;
  }

  // at_ stands on "{{", "{%" or "{#"; leaves it behind the tag.
  void tag() {
    const char kind = text_[at_ + 1];
    at_ += 2;
    if (kind == '#') return comment();
    if (at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+')) ++at_;
    add(kind == '{' ? Kind::kPrintBegin : Kind::kBlockBegin, "");
    const std::string_view close = kind == '{' ? "}}" : "%}";
    int open = 0;  // brackets: "}}" may end two mappings
    while (true) {
      skip_blank();
      if (at_ >= text_.size()) template_error(line_, "a tag is not closed");
      const std::string_view rest = text_.substr(at_);
      const bool sign = rest[0] == '-' || rest[0] == '+';
      if (open == 0 && rest.substr(sign ? 1 : 0).starts_with(close)) break;
      token(rest, open);
    }
    add(kind == '{' ? Kind::kPrintEnd : Kind::kBlockEnd, "");
    end_tag(kind == '%');
  }

  void comment() {
    const size_t end = text_.find("#}", at_);
    if (end == std::string_view::npos) template_error(line_, "a comment is not closed");
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    at_ = text_[end - 1] == '-' && end > at_ ? end - 1 : end;
    end_tag(true);
  }

  // at_ stands on the end of a tag, with its sign.
  void end_tag(bool trim_newline) {
    const char sign = text_[at_];
    strip_left_ = sign == '-';
    at_ += sign == '-' || sign == '+' ? 3 : 2;
    if (trim_newline && sign != '+' && at_ < text_.size() && text_[at_] == '\n') {
      ++at_;
      ++line_;
    }
  }

  void skip_blank() {
    while (at_ < text_.size() && kBlank.find(text_[at_]) != std::string_view::npos) {
      if (text_[at_++] == '\n') ++line_;
    }
  }

  void token(std::string_view rest, int& open) {
    const char c = rest[0];
    if (is_name_start(c) || is_digit(c)) return word(rest);
    if (c == '"' || c == '\'') return string(rest);
    for (const std::string_view two : {"==", "!=", "<=", ">=", "//", "**"}) {
      if (rest.starts_with(two)) return take(Kind::kOperator, two);
    }
    constexpr std::string_view kSingle = "+-*/%~<>=.,:|()[]{}";
    if (kSingle.find(c) == std::string_view::npos) {
      template_error(line_, fmt::format("unexpected \"{}\"", base::printable(rest.substr(0, 1))));
    }
    if (c == '(' || c == '[' || c == '{') ++open;
    if (c == ')' || c == ']' || c == '}') --open;
    take(Kind::kOperator, rest.substr(0, 1));
  }

  void word(std::string_view rest) {
    size_t end = 1;
    while (end < rest.size() && (is_name_start(rest[end]) || is_digit(rest[end]))) ++end;
    const std::string_view text = rest.substr(0, end);
    if (!is_digit(text[0])) return take(Kind::kName, text);
    const bool whole = std::all_of(text.begin(), text.end(), is_digit) && end <= 18;
    if (!whole || rest.substr(end).starts_with(".")) template_error(line_, "an unknown number");
    take(Kind::kInteger, text);
  }

  void string(std::string_view rest) {
    const char quote = rest[0];
    std::string value;
    size_t i = 1;
    for (; i < rest.size() && rest[i] != quote; ++i) {
      if (rest[i] == '\n') ++line_;
      if (rest[i] != '\\') {
        value += rest[i];
        continue;
      }
      if (++i >= rest.size()) break;
      constexpr std::string_view kEscapes = "nrt\\'\"";
      constexpr std::string_view kMeanings = "\n\r\t\\'\"";
      const size_t known = kEscapes.find(rest[i]);
      if (known == std::string_view::npos) template_error(line_, "an unknown escape in a string");
      value += kMeanings[known];
    }
    if (i >= rest.size()) template_error(line_, "a string is not closed");
    add(Kind::kString, value);
    at_ += i + 1;
  }

  void take(Kind kind, std::string_view text) {
    add(kind, text);
    at_ += text.size();
  }

  void add(Kind kind, std::string_view text) {
    tokens_.push_back({kind, std::string(text), line_});
  }

  std::string source_;
  std::string_view text_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool strip_left_ = false;  // the tag before ended with a minus
};

}  // namespace

std::vector<Token> tokenize(std::string_view text) { return Lexer(text).run(); }

}  // namespace upg::tokenizer::jinja
