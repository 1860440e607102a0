// The tensors a model consists of, as its checkpoint names them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace upg::model {

enum class Role : uint8_t {
  kEmbedding,  // with a tied head: the head too
  kHead,
  kMatrix,  // of a layer
  kVector,  // norm weight or bias: kept as float32
};

struct TensorSpec {
  std::string name;
  int64_t rows = 0;
  int64_t cols = 0;  // vectors: 1
  Role role = Role::kVector;
  // Matrices of a layer: the input they read, "model.layers.3.mlp.input"; those that share it share
  // one rotation. Empty for everything else.
  std::string activation;
};

// All tensors in checkpoint order: embedding, layers, final norm, head.
std::vector<TensorSpec> tensor_specs(const ModelConfig& config);

// parameters = all elements.
uint64_t parameter_count(const std::vector<TensorSpec>& specs);

}  // namespace upg::model
