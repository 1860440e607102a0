// The searches of a build for a processor without files of its own.
#include "codec/path_feedback_variants.h"
#include "codec/path_viterbi_variants.h"

namespace upg::codec {
namespace {

bool always() { return true; }

}  // namespace

std::span<const ViterbiVariant> viterbi_variants() {
  static constexpr ViterbiVariant kVariants[] = {{"plain", always, 1, viterbi::encode_plain}};
  return kVariants;
}

std::span<const FeedbackVariant> feedback_variants() {
  static constexpr FeedbackVariant kVariants[] = {{"plain", always, 1, feedback::encode_plain}};
  return kVariants;
}

}  // namespace upg::codec
