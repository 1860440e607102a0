// Brings the weights of one layer into a backend.
#pragma once

#include "kernels/backend.h"
#include "model/source.h"

namespace upg::model {

// What the matrices view must outlive the result on backends that do not copy. Throws what reading
// the source throws, kOutOfMemory.
kernels::LayerWeights load_layer(const ModelSource& source, kernels::Backend& backend, int layer);

}  // namespace upg::model
