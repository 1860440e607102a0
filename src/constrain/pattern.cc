#include "constrain/pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "upg/error.h"

namespace upg::constrain {
namespace {

constexpr size_t kMaxPatternBytes = 2000;
constexpr int kMaxGroups = 50;  // in groups
constexpr int kMaxCount = 1000;
constexpr int kUnbounded = -1;
constexpr int64_t kEndless = int64_t{1} << 40;  // a length; more is as much

int64_t times(int64_t length, int64_t count) {
  return length == 0 || count == 0 ? 0 : length >= kEndless / count ? kEndless : length * count;
}

const CharacterSet& digit_set() {
  static const CharacterSet set{{'0', '9'}};
  return set;
}
const CharacterSet& word_set() {
  static const CharacterSet set{{'0', '9'}, {'A', 'Z'}, {'a', 'z'}, {'_', '_'}};
  return set;
}
const CharacterSet& space_set() {
  static const CharacterSet set{
      {'\t', '\r'},     {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
      {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
  return set;
}
const CharacterSet& line_end_set() {
  static const CharacterSet set{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
  return set;
}

// Parses and compiles in one go. Parts are compiled as rules of their own, because instructions are
// written back to front and the pattern is read from the front.
class PatternCompiler {
 public:
  PatternCompiler(ProgramBuilder& builder, StringCharacters& characters, std::string_view pattern,
                  Lengths lengths, std::string_view where)
      : builder_(builder),
        characters_(characters),
        pattern_(pattern),
        lengths_(lengths),
        where_(where) {}

  // A rule.
  Label compile() {
    if (pattern_.size() > kMaxPatternBytes) {
      refuse(fmt::format("found {} bytes, allowed are {}", pattern_.size(), kMaxPatternBytes));
    }
    const Piece all = alternatives(0);
    if (at_ < pattern_.size()) refuse_here("a ) without its (");
    const bool keeps =
        all.shortest >= lengths_.least && (lengths_.most < 0 || all.longest <= lengths_.most);
    if (!keeps && all.rule != builder_.fail()) {
      refuse(
          "beside a `minLength` or `maxLength` that it does not keep by itself it is not "
          "supported");
    }
    return all.rule;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(ErrorCode::kUsage, fmt::format("{}: {}", where_, what));
  }
  [[noreturn]] void refuse_here(std::string_view what) const {
    refuse(fmt::format("{} at byte {} is not supported", what, at_));
  }

  bool at_end() const { return at_ == pattern_.size(); }
  char peek() const { return at_end() ? '\0' : pattern_[at_]; }
  bool take(std::string_view text) {
    if (!pattern_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t take_character() {
    const auto lead = static_cast<uint8_t>(pattern_[at_]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    char32_t code = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t i = 1; i < length && at_ + i < pattern_.size(); ++i) {
      code = code << 6 | (static_cast<uint8_t>(pattern_[at_ + i]) & 0x3f);
    }
    at_ = std::min(at_ + length, pattern_.size());
    return code;
  }

  // A rule, and how many characters it reads.
  struct Piece {
    Label rule;
    int64_t shortest;
    int64_t longest;
  };
  // A piece, and how often it comes.
  struct Part {
    Piece piece;
    int least;
    int most;
    int64_t shortest() const { return times(piece.shortest, least); }
    int64_t longest() const { return times(piece.longest, most == kUnbounded ? kEndless : most); }
  };

  Piece alternatives(int depth) {
    if (depth > kMaxGroups) refuse(fmt::format("more than {} groups in groups", kMaxGroups));
    Piece all = sequence(depth, true);
    while (take("|")) {
      const Piece other = sequence(depth, false);
      all = {builder_.either(all.rule, other.rule), std::min(all.shortest, other.shortest),
             std::max(all.longest, other.longest)};
    }
    return all;
  }

  Piece sequence(int depth, bool is_first) {
    const Part anything{{characters_.any(), 1, 1}, 0, kUnbounded};
    std::vector<Part> parts;
    if (depth == 0 && !take("^")) parts.push_back(anything);
    bool ended = false;
    while (!at_end() && peek() != '|' && peek() != ')') {
      if (depth == 0 && take("$")) {
        ended = true;
        if (!at_end() && peek() != '|') refuse_here("a $ before the end");
        continue;
      }
      const Piece piece = atom(depth);
      const auto [least, most] = count();
      parts.push_back({piece, least, most});
    }
    if (depth == 0 && !ended) parts.push_back(anything);
    const bool is_all = depth == 0 && is_first && at_end();
    if (is_all && !keep_lengths(parts)) return {builder_.fail(), 0, 0};
    Piece all{builder_.accept(), 0, 0};
    for (size_t i = parts.size(); i-- > 0;) {
      all.rule = builder_.repeat(parts[i].piece.rule, parts[i].least, parts[i].most, all.rule);
      all.shortest = std::min(all.shortest + parts[i].shortest(), kEndless);
      all.longest = std::min(all.longest + parts[i].longest(), kEndless);
    }
    return all;
  }

  // Where one part alone, of single characters, has no fixed length, it takes up what the wanted
  // lengths leave. False when nothing is left.
  bool keep_lengths(std::vector<Part>& parts) const {
    Part* counted = nullptr;
    int64_t fixed = 0;
    for (Part& part : parts) {
      if (part.shortest() == part.longest()) {
        fixed += part.shortest();
      } else if (counted != nullptr || part.piece.shortest != 1 || part.piece.longest != 1) {
        return true;
      } else {
        counted = &part;
      }
    }
    if (counted == nullptr) return true;
    const int64_t least = std::max<int64_t>(counted->least, lengths_.least - fixed);
    int64_t most = counted->most == kUnbounded ? kEndless : counted->most;
    if (lengths_.most >= 0) most = std::min(most, lengths_.most - fixed);
    if (most < least) return false;
    counted->least = static_cast<int>(least);
    counted->most = most == kEndless ? kUnbounded : static_cast<int>(most);
    return true;
  }

  Piece one_of(const CharacterSet& set) { return {characters_.of(set), 1, 1}; }

  Piece atom(int depth) {
    switch (peek()) {
      case '(':
        ++at_;
        return group(depth);
      case '[':
        ++at_;
        return one_of(character_class());
      case '.':
        ++at_;
        return one_of(line_end_set().complement());
      case '\\':
        ++at_;
        return one_of(escape(false));
      case '^':
      case '$':
        refuse_here("an anchor inside");
      case '*':
      case '+':
      case '?':
      case '{':
        refuse_here("a repetition of nothing");
      default:
        const char32_t character = take_character();
        return one_of({{character, character}});
    }
  }

  Piece group(int depth) {
    const std::string_view rest = pattern_.substr(at_);
    const bool looks_behind = rest.starts_with("?<=") || rest.starts_with("?<!");
    if (!looks_behind && (take("?P<") || take("?<"))) {
      const size_t end = pattern_.find('>', at_);
      if (end == std::string_view::npos) refuse_here("a group's name without its end");
      at_ = end + 1;
    } else if (!take("?:") && peek() == '?') {
      refuse_here("a look around or a flag");
    }
    const Piece inside = alternatives(depth + 1);
    if (!take(")")) refuse_here("a ( without its )");
    return inside;
  }

  std::pair<int, int> count() {
    std::pair<int, int> found{1, 1};
    if (take("*")) {
      found = {0, kUnbounded};
    } else if (take("+")) {
      found = {1, kUnbounded};
    } else if (take("?")) {
      found = {0, 1};
    } else if (take("{")) {
      found.first = number();
      found.second = take(",") ? (peek() == '}' ? kUnbounded : number()) : found.first;
      if (!take("}")) refuse_here("a repetition without its }");
      if (found.second != kUnbounded && found.second < found.first) {
        refuse_here("a repetition from more to fewer");
      }
    } else {
      return found;
    }
    take("?");
    if (peek() == '+' || peek() == '*' || peek() == '{')
      refuse_here("a repetition of a repetition");
    return found;
  }

  int number() {
    const size_t begin = at_;
    int value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (pattern_[at_++] - '0');
      if (value > kMaxCount) refuse(fmt::format("a count above {}", kMaxCount));
    }
    if (at_ == begin) refuse_here("a repetition without a number");
    return value;
  }

  char32_t hexadecimal(size_t length) {
    char32_t value = 0;
    for (size_t i = 0; i < length; ++i) {
      const char c = peek();
      const bool is_digit = c >= '0' && c <= '9';
      const char lower = static_cast<char>(c | 0x20);
      if (!is_digit && !(lower >= 'a' && lower <= 'f')) refuse_here("an escape without its digits");
      value = value << 4 | static_cast<char32_t>(is_digit ? c - '0' : lower - 'a' + 10);
      ++at_;
    }
    return value;
  }

  // Behind the backslash.
  CharacterSet escape(bool in_class) {
    if (at_end()) refuse("a \\ at the end");
    const auto one = [](char32_t character) { return CharacterSet{{character, character}}; };
    const char letter = pattern_[at_];
    if (static_cast<uint8_t>(letter) >= 0x80) return one(take_character());
    ++at_;
    switch (letter) {
      case 'd':
        return digit_set();
      case 'D':
        return digit_set().complement();
      case 'w':
        return word_set();
      case 'W':
        return word_set().complement();
      case 's':
        return space_set();
      case 'S':
        return space_set().complement();
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case '0':
        if (peek() >= '0' && peek() <= '9') refuse_here("an octal escape");
        return one(0);
      case 'x':
        return one(hexadecimal(2));
      case 'u':
        return one(unicode_escape());
      case 'b':
        if (in_class) return one('\b');
        break;
      default:
        const bool alphanumeric =
            word_set().without({{'_', '_'}}).contains(static_cast<char32_t>(letter));
        if (!alphanumeric) return one(static_cast<char32_t>(letter));
    }
    --at_;
    refuse_here(fmt::format("the escape \\{}", letter));
  }

  char32_t unicode_escape() {
    const char32_t unit = hexadecimal(4);
    if (unit < 0xd800 || unit > 0xdfff) return unit;
    if (unit > 0xdbff || !take("\\u")) refuse_here("half a surrogate pair");
    const char32_t low = hexadecimal(4);
    if (low < 0xdc00 || low > 0xdfff) refuse_here("half a surrogate pair");
    return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
  }

  // Behind the [.
  CharacterSet character_class() {
    const bool negated = take("^");
    if (peek() == ']') refuse_here("an empty class");
    CharacterSet set;
    while (!take("]")) {
      if (at_end()) refuse("a [ without its ]");
      const CharacterSet first = class_member();
      if (peek() != '-' || pattern_.substr(at_).starts_with("-]")) {
        set.add(first);
        continue;
      }
      ++at_;
      if (at_end()) refuse("a [ without its ]");
      const CharacterSet last = class_member();
      const auto low = first.single(), high = last.single();
      if (!low || !high || *low > *high) refuse_here("a range without two ends in order");
      set.add(*low, *high);
    }
    return negated ? set.complement() : set;
  }

  CharacterSet class_member() {
    if (take("\\")) return escape(true);
    const char32_t character = take_character();
    return {{character, character}};
  }

  ProgramBuilder& builder_;
  StringCharacters& characters_;
  std::string_view pattern_;
  Lengths lengths_;
  std::string_view where_;
  size_t at_ = 0;
};

}  // namespace

Label compile_pattern(ProgramBuilder& builder, StringCharacters& characters,
                      std::string_view pattern, Lengths lengths, std::string_view where,
                      Label next) {
  const Label rule = PatternCompiler(builder, characters, pattern, lengths, where).compile();
  return builder.call(rule, next);
}

}  // namespace upg::constrain
