// Where a matrix lies on machines whose memory has several nodes.
#pragma once

#include "base/topology.h"
#include "codec/matrix.h"

namespace upg::kernels {

// Moves each thread's share of the rows, as a product divides them, to the memory of the thread's
// node. Best effort; nothing to do on a single node.
void place(const codec::Matrix& matrix, const base::Topology& topology, int threads) noexcept;

}  // namespace upg::kernels
