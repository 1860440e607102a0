// Brings weights into a backend by their names in the checkpoint.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <string_view>

#include "kernels/backend.h"
#include "model/source.h"

namespace upg::model {

// Source and backend must outlive it; what the matrices view must outlive the results on backends
// that do not copy. Every function throws what reading the source throws, and kOutOfMemory.
class WeightLoader {
 public:
  WeightLoader(const ModelSource& source, kernels::Backend& backend);

  std::shared_ptr<const kernels::Weight> matrix(std::string_view name) const;
  kernels::Buffer vector(std::string_view name) const;
  // Modules whose outputs lie one after the other: PREFIX + MODULE + ".weight", and ".bias" if any.
  kernels::Linear linear(std::string_view prefix,
                         std::initializer_list<std::string_view> modules) const;
  kernels::LayerWeights layer(int layer) const;

 private:
  const TensorSpec& spec(std::string_view name) const;

  const ModelSource& source_;
  kernels::Backend& backend_;
  std::map<std::string_view, const TensorSpec*> specs_;
};

// One layer alone, for those who go through a model layer by layer.
kernels::LayerWeights load_layer(const ModelSource& source, kernels::Backend& backend, int layer);

// Of a matrix of a layer: the number of its layer, its Linear, and its part of that.
int layer_of(const TensorSpec& spec);
kernels::Linear& layer_linear(kernels::LayerWeights& weights, const TensorSpec& spec);
kernels::Linear::Part& layer_part(kernels::LayerWeights& weights, const TensorSpec& spec);

}  // namespace upg::model
