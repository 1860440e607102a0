// The two palettes of a matrix: what a Gaussian needs, and a fit to the matrix at hand.
#pragma once

#include <cstdint>
#include <span>

#include "codec/path_viterbi.h"

namespace upg::codec {

// Palettes and the scale they belong to: a row of root mean square r is coded as
// targets = weight * levels_per_rms / r.
struct PathFit {
  PathPalettes palettes;
  float levels_per_rms = 0;
};

// For rows of independent Gaussian weights; bits = 2, 3, 4.
PathFit gaussian_fit(int bits);

// The fit for chains [16, count] whose rows have been divided by their root mean square: search and
// least squares in turn, from `start` and from a start shaped after the weights, whichever ends
// better. Deterministic. Never worse than `start` on these chains.
PathFit fit_palettes(const PathFit& start, std::span<const float> chains, int64_t count);

}  // namespace upg::codec
