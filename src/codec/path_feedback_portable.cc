// The search with feedback of a build for a processor without a file of its own.
#include "codec/path_feedback_variants.h"

namespace upg::codec {

std::span<const FeedbackVariant> feedback_variants() {
  static constexpr FeedbackVariant kVariants[] = {
      {"plain", [] { return true; }, 1, feedback::encode_plain},
  };
  return kVariants;
}

}  // namespace upg::codec
