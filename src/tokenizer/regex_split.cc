#include "tokenizer/regex_split.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "base/text.h"
#include "upg/error.h"

namespace upg::tokenizer {
namespace {

constexpr size_t kMaxPatternBytes = 65536;
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kDepthLimit = 100'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;
constexpr size_t kFirstJitStackBytes = size_t{32} << 10;
constexpr size_t kJitStackBytes = size_t{4} << 20;

// White_Space, and Oniguruma's word characters.
constexpr std::string_view kSpaceClass = "\\t-\\r\\x{85}\\p{Z}";
constexpr std::string_view kWordClass =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{"
    "1f130}-\\x{1f149}"
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}";
// Outside a class Oniguruma counts these too: superscript digits and fractions of Latin-1.
constexpr std::string_view kWordAlone = "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";

[[noreturn]] void refuse(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("{}: {} in a split pattern is not supported (FIELD)", where, what));
}

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : in_(pattern), where_(where) {}

  std::string run() {
    for (at_ = 0; at_ < in_.size(); ++at_) {
      if (in_[at_] == '\\') {
        escape();
      } else if (in_class_) {
        class_member();
      } else {
        outside();
      }
    }
    return std::move(out_);
  }

 private:
  void outside() {
    if (in_[at_] == '[') begin_class();
    const std::string_view rest = in_.substr(at_);
    if (rest.starts_with("(*")) refuse(where_, "(*VERB)");
    if (rest.starts_with("(?")) check_group(rest.substr(2));
    if (rest.starts_with("{,")) refuse(where_, "{,n}");
    // Oniguruma repeats the interval here, PCRE2 makes it possessive.
    if (rest.starts_with("}+")) refuse(where_, "{n,m}+");
    out_.push_back(in_[at_]);
  }

  // Behind "(?": (?: (?= (?! (?> (?<= (?<! and the flags i and x mean the same in both.
  void check_group(std::string_view rest) {
    for (const std::string_view same : {":", "=", "!", ">", "<=", "<!", "#"}) {
      if (rest.starts_with(same)) return;
    }
    const size_t flags = rest.find_first_not_of("ix-");
    const bool closed =
        flags != std::string_view::npos && flags > 0 && (rest[flags] == ':' || rest[flags] == ')');
    if (!closed) refuse(where_, fmt::format("(?{}", base::printable(rest.substr(0, 2))));
  }

  void begin_class() {
    in_class_ = true;
    const size_t first = at_ + 1 < in_.size() && in_[at_ + 1] == '^' ? at_ + 2 : at_ + 1;
    if (first < in_.size() && in_[first] == ']') refuse(where_, "']' first in a class");
  }

  void class_member() {
    const std::string_view rest = in_.substr(at_);
    if (rest.starts_with('[')) refuse(where_, "a class within a class");
    if (rest.starts_with("&&")) refuse(where_, "an intersection of classes");
    if (rest.starts_with(']')) in_class_ = false;
    out_.push_back(in_[at_]);
  }

  // at_ stands on a backslash; leaves it on the last character of the escape.
  void escape() {
    if (at_ + 1 >= in_.size()) refuse(where_, "a backslash at the end");
    const char letter = in_[++at_];
    constexpr std::string_view kDifferent = "hHbBRXKGgkQEcCNOyYzZA0123456789";
    if (kDifferent.find(letter) != std::string_view::npos) {
      refuse(where_, fmt::format("\\{}", base::printable({&letter, 1})));
    }
    if (letter == 's' || letter == 'S') return spell_out(letter == 'S', std::string(kSpaceClass));
    if (letter == 'w' || letter == 'W') {
      return spell_out(letter == 'W', fmt::format("{}{}", kWordClass, in_class_ ? "" : kWordAlone));
    }
    out_ += {'\\', letter};
    if ((letter == 'p' || letter == 'P') && in_.substr(at_ + 1).starts_with('{')) {
      const size_t end = std::min(in_.find('}', at_), in_.size() - 1);
      out_ += in_.substr(at_ + 1, end - at_);
      at_ = end;
    }
  }

  void spell_out(bool negated, const std::string& members) {
    if (in_class_ && negated) refuse(where_, "\\S or \\W in a class");
    out_ += in_class_ ? members : fmt::format("[{}{}]", negated ? "^" : "", members);
  }

  std::string_view in_;
  std::string_view where_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

std::string error_text(int code) {
  PCRE2_UCHAR buffer[256];
  if (pcre2_get_error_message(code, buffer, sizeof(buffer)) < 0) return std::to_string(code);
  return reinterpret_cast<const char*>(buffer);
}

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, Freer<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Freer<pcre2_jit_stack_free>>;

template <typename T>
T made(T pointer) {
  if (pointer == nullptr) throw Error(ErrorCode::kOutOfMemory, "no memory for a split pattern");
  return pointer;
}

}  // namespace

std::string translate_pattern(std::string_view pattern, std::string_view where) {
  return Translator(pattern, where).run();
}

struct RegexSplit::Compiled {
  Code code;
  std::string where;
};

RegexSplit::RegexSplit(std::string_view pattern, std::string_view where)
    : compiled_(std::make_unique<Compiled>()) {
  if (pattern.size() > kMaxPatternBytes) {
    throw Error(ErrorCode::kInvalidData, fmt::format("{}: {} bytes, allowed are {} (LIMIT)", where,
                                                     pattern.size(), kMaxPatternBytes));
  }
  const std::string translated = translate_pattern(pattern, where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled_->where = where;
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                      translated.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
                                      &error, &offset, nullptr));
  if (compiled_->code == nullptr) {
    throw Error(ErrorCode::kInvalidData,
                fmt::format("{}: {} at byte {} of \"{}\" (FIELD)", where, error_text(error), offset,
                            base::printable(translated)));
  }
  uint32_t matches_empty = 0;
  pcre2_pattern_info(compiled_->code.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) refuse(where, "a match of no character");
  pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE);  // without it: the interpreter
}

RegexSplit::~RegexSplit() = default;

struct RegexSplit::Scratch::State {
  MatchData data{made(pcre2_match_data_create(1, nullptr))};  // the whole match is all we want
  MatchContext context{made(pcre2_match_context_create(nullptr))};
  JitStack stack{made(pcre2_jit_stack_create(kFirstJitStackBytes, kJitStackBytes, nullptr))};
};

RegexSplit::Scratch::Scratch() : state_(std::make_unique<State>()) {
  pcre2_match_context* context = state_->context.get();
  pcre2_set_match_limit(context, kMatchLimit);
  pcre2_set_depth_limit(context, kDepthLimit);
  pcre2_set_heap_limit(context, kHeapLimitKib);
  pcre2_jit_stack_assign(context, nullptr, state_->stack.get());
}

RegexSplit::Scratch::~Scratch() = default;
RegexSplit::Scratch::Scratch(Scratch&&) noexcept = default;

std::vector<RegexSplit::Match> RegexSplit::matches(std::string_view text, Scratch& scratch) const {
  const pcre2_code* code = compiled_->code.get();
  pcre2_match_data* data = scratch.state_->data.get();
  std::vector<Match> found;
  for (size_t at = 0; at < text.size();) {
    const int result =
        pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data, scratch.state_->context.get());
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("{}: the split pattern fails on this text: {} (LIMIT)",
                              compiled_->where, error_text(result)));
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data);
    found.push_back({ends[0], ends[1]});
    at = ends[1];
  }
  return found;
}

}  // namespace upg::tokenizer
