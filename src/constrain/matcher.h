// One generation that follows a grammar.
//
// A server that samples first and masks only a choice that is not allowed draws from the same
// distribution as one that masks every step:
//
//   int32_t token = sampler.sample(logits, history);
//   if (!(is_stop(token) ? matcher.complete() : matcher.allows(token))) {
//     matcher.mask(logits, stop_ids);
//     token = sampler.sample(logits, history);
//   }
//   if (is_stop(token)) finish(); else matcher.advance(token);
//   if (matcher.must_end()) finish();
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "constrain/grammar.h"
#include "constrain/token_table.h"

namespace upg::constrain {

// Copying is cheap and gives an independent position. One thread at a time a matcher; those of one
// grammar may be used by several threads. allows(), advance() and mask() throw Error(kUsage) for a
// schema that turns out to be too ambiguous (machine.h).
class Matcher {
 public:
  Matcher(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTable> table);

  // Whether the text may go on with this token. Never for one without bytes: whether a stop token
  // may come is what complete() says.
  bool allows(int32_t token) const;
  // The token was chosen; it must be allowed.
  void advance(int32_t token);

  bool complete() const noexcept { return complete_; }               // the text may end here
  bool must_end() const noexcept { return complete_ && !goes_on_; }  // and nothing may follow

  // logits: [vocabulary or more]: -infinity for all that may not follow, ids outside the table
  // included; the stop ids stay when the text may end here, and only then.
  void mask(std::span<float> logits, std::span<const int32_t> stop_ids) const;

 private:
  void move_to(const std::shared_ptr<Machine>& machine) const;

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenTable> table_;
  // Where the text has led to. The same position moves to a new machine when the old one is full.
  mutable std::shared_ptr<Machine> machine_;
  mutable StateId state_ = kDead;
  bool complete_ = false;
  bool goes_on_ = true;
};

}  // namespace upg::constrain
