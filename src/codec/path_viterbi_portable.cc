// The searches of a build for a processor without a file of its own.
#include "codec/path_viterbi_variants.h"

namespace upg::codec {

std::span<const ViterbiVariant> viterbi_variants() {
  static constexpr ViterbiVariant kVariants[] = {
      {"plain", [] { return true; }, 1, viterbi::encode_plain},
  };
  return kVariants;
}

}  // namespace upg::codec
