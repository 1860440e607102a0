// Sequences of answers that are done, kept for prompts that begin like them.
//
// A prompt that begins with all of a kept sequence takes it over; one that shares less gets a fork,
// in the same pages. The least recently used go first when the cache needs pages.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "server/language_model.h"

namespace upg::server {

int common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) noexcept;

// A sequence that holds the first `tokens` tokens of a prompt; 0: none.
struct Prefix {
  SequenceId sequence = 0;
  int tokens = 0;
};

// One thread at a time, the scheduler's.
class PrefixStore {
 public:
  PrefixStore(LanguageModel& model, size_t capacity) : model_(model), capacity_(capacity) {}
  ~PrefixStore() { clear(); }
  PrefixStore(const PrefixStore&) = delete;
  PrefixStore& operator=(const PrefixStore&) = delete;

  // Takes the sequence, which holds these tokens.
  void keep(SequenceId sequence, std::vector<int32_t> tokens);
  // How many tokens of the prompt the best of them holds.
  int longest(std::span<const int32_t> prompt) const noexcept;
  // A sequence for the caller with the longest prefix there is. The prompt's last token is never
  // part of it: somebody has to compute its logits.
  Prefix take(std::span<const int32_t> prompt);
  // Frees the least recently used; false when there is none.
  bool evict();
  void clear();
  size_t size() const noexcept { return kept_.size(); }

 private:
  struct Kept {
    SequenceId sequence = 0;
    std::vector<int32_t> tokens;
  };
  using Iterator = std::list<Kept>::iterator;

  LanguageModel& model_;
  size_t capacity_;
  std::list<Kept> kept_;  // the least recently used first
};

}  // namespace upg::server
