// The searches of an x86 build, fastest first: without and with feedback.
#include "codec/path_feedback_variants.h"
#include "codec/path_viterbi_variants.h"

namespace upg::codec {
namespace {

// Here and not beside the searches: this must run before it is known what the machine can run.
bool has_avx512() { return __builtin_cpu_supports("avx512f") != 0; }
bool has_avx2() { return __builtin_cpu_supports("avx2") != 0; }
bool always() { return true; }

}  // namespace

std::span<const ViterbiVariant> viterbi_variants() {
  static constexpr ViterbiVariant kVariants[] = {
      {"avx512", has_avx512, 32, viterbi::encode_avx512},
      {"avx2", has_avx2, 16, viterbi::encode_avx2},
      {"plain", always, 1, viterbi::encode_plain},
  };
  return kVariants;
}

std::span<const FeedbackVariant> feedback_variants() {
  static constexpr FeedbackVariant kVariants[] = {
      {"avx512", has_avx512, 16, feedback::encode_avx512},
      {"avx2", has_avx2, 8, feedback::encode_avx2},
      {"plain", always, 1, feedback::encode_plain},
  };
  return kVariants;
}

}  // namespace upg::codec
