// The sampler: from one row of logits to one token.
//
// The chain, each stage working on what the one before it left:
//   1. penalties   over the last repeat_last_n tokens: a logit > 0 is divided by repeat_penalty,
//                  any other multiplied by it; then less frequency_penalty * occurrences and
//                  presence_penalty once
//   2. logit bias  added
//   3. top-k       the k largest logits; of equal ones those with the lowest ids
//   4. top-p       the shortest run of the largest probabilities whose sum reaches top_p
//   5. min-p       those with at least min_p times the largest probability
//   6. temperature probabilities become exp((logit - largest) / temperature)
//   7. draw        walking the tokens left in order of their ids, the first whose running sum
//                  passes u times the whole sum
// Temperature 0 takes the largest logit after stage 2, of equal ones the lowest id.
//
// u is draw n = 0, 1, 2, ... of the seed's stream (uniform() below): a function of seed and n
// alone, so that a device may repeat it without state. Every sampled token takes one n, whether its
// choice was left to chance or not.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "upg/engine.h"

namespace upg::runtime {

// Throws Error(kUsage) naming the option, what was found and what is allowed; NaN is never allowed.
void check_sampling(const SamplingOptions& options, int vocabulary);

// Draw n of the stream of a seed, in [0, 1), a multiple of 2^-53:
//   mix(z) = z ^= z >> 30, z *= 0xbf58476d1ce4e5b9, z ^= z >> 27, z *= 0x94d049bb133111eb,
//            z ^= z >> 31                                       (splitmix64's finaliser)
//   uniform(seed, n) = (mix(mix(seed) + (n + 1) * 0x9e3779b97f4a7c15) >> 11) * 2^-53
double uniform(uint64_t seed, uint64_t n) noexcept;
uint64_t uniform_bits(uint64_t seed, uint64_t n) noexcept;  // the same times 2^53

// One thread at a time.
class Sampler {
 public:
  // Throws what check_sampling throws.
  Sampler(const SamplingOptions& options, int vocabulary);

  // logits: [vocabulary]. -infinity rules a token out. history: the tokens so far, prompt included.
  // Throws Error(kInvalidData) when a logit is NaN or +infinity or all are -infinity.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> history);

  // What sample() would give; skip_draw() if that is taken.
  int32_t next_sample(std::span<const float> logits, std::span<const int32_t> history);
  // What sample() would be told, in the terms of a backend that does it; valid until the next call.
  // skip_draw() once the backend has.
  kernels::TokenChoice choice(std::span<const int32_t> history);
  void skip_draw() noexcept { ++drawn_; }

  // A token that may be drawn, with its weight: its probability in proportion to the others.
  struct Candidate {
    int32_t id = 0;
    float logit = 0;
    double weight = 0;
  };
  // Stages 1 to 6: what sample() draws from, in order of ids; one candidate at temperature 0. Valid
  // until the next call.
  std::span<const Candidate> candidates(std::span<const float> logits,
                                        std::span<const int32_t> history);

 private:
  void list_changes(std::span<const int32_t> history);
  void list_penalties(std::span<const int32_t> history);
  std::span<const float> changed(std::span<const float> logits);
  void change(const kernels::LogitChange& change);
  void keep_largest(std::span<const float> logits, size_t count);
  float reached_by(size_t count);
  void keep_all(std::span<const float> logits);
  void keep_probable();
  void keep_top_p(double total);

  SamplingOptions options_;
  uint64_t drawn_ = 0;
  size_t vocabulary_;
  std::vector<float> logits_;  // [vocabulary], after stages 1 and 2, where these change any
  std::vector<float> block_largest_;
  std::vector<float> sorted_largest_;
  std::vector<kernels::LogitChange> changes_;
  std::vector<int32_t> recent_;
  std::vector<Candidate> candidates_;
};

}  // namespace upg::runtime
