// One matrix as paths or as sparse, coded against the problem its inputs pose.
#pragma once

#include "compress/calibration_device.h"
#include "compress/encode.h"
#include "compress/feedback_coder.h"

namespace upg::compression {

// As encode_matrix, for a codec that codes_calibrated(): same checks, same parts, same independence
// of threads. signs as the problem's basis has them. loss: sums over all rows.
EncodedMatrix encode_calibrated(const SourceMatrix& source, const Storage& storage,
                                const uint8_t* signs, const Problem& problem,
                                const CodingOptions& options, base::ThreadTeam& team,
                                const Tick& tick, CodingLoss& loss);

// Whether encode_calibrated takes it: the path codecs and sparse.
bool codes_calibrated(const codec::Codec& codec) noexcept;
// Bits of a path codec; 0 for any other.
int path_bits(const codec::Codec& codec) noexcept;

}  // namespace upg::compression
