// A split pattern that has no scanner of ours, run by PCRE2 (JIT where the machine has it).
//
// tokenizer.json's patterns are Oniguruma's dialect. What both understand alike is accepted; \s and
// \w are spelled out, because PCRE2's differ; the rest is refused by name when the pattern is
// compiled.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace upg::tokenizer {

// The pattern in PCRE2's dialect. Throws Error(kUnsupported) naming the construct it cannot carry
// over; `where` is how messages call the pattern's place.
std::string translate_pattern(std::string_view pattern, std::string_view where);

class RegexSplit {
 public:
  // Throws Error(kInvalidData) when the pattern is wrong, kUnsupported when it may match nothing or
  // uses what translate_pattern() refuses.
  RegexSplit(std::string_view pattern, std::string_view where);
  ~RegexSplit();
  RegexSplit(const RegexSplit&) = delete;
  RegexSplit& operator=(const RegexSplit&) = delete;

  // What matching needs besides the pattern: one for each thread, for any number of patterns.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(Scratch&&) noexcept;

   private:
    friend class RegexSplit;
    struct State;
    std::unique_ptr<State> state_;
  };

  // Byte ranges of all matches in valid UTF-8, in order, none empty. Throws Error(kUnsupported)
  // when a match needs more than 10 million steps.
  struct Match {
    size_t begin;
    size_t end;
  };
  std::vector<Match> matches(std::string_view text, Scratch& scratch) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace upg::tokenizer
