#include "model/layer_loader.h"

#include <fmt/format.h>

#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"

namespace upg::model {
namespace {

constexpr std::string_view kLayerPrefix = "model.layers.";

}  // namespace

WeightLoader::WeightLoader(const ModelSource& source, kernels::Backend& backend)
    : source_(source), backend_(backend) {
  for (const TensorSpec& spec : source.specs()) specs_.emplace(spec.name, &spec);
}

const TensorSpec& WeightLoader::spec(std::string_view name) const {
  const auto found = specs_.find(name);
  UPG_CHECK(found != specs_.end());
  return *found->second;
}

std::shared_ptr<const kernels::Weight> WeightLoader::matrix(std::string_view name) const {
  return backend_.load(source_.matrix(spec(name)));
}

kernels::Buffer WeightLoader::vector(std::string_view name) const {
  const std::vector<float> values = source_.vector(spec(name));
  const size_t bytes = values.size() * sizeof(float);
  kernels::Buffer buffer = backend_.allocate(bytes);
  backend_.upload(buffer.floats(), values.data(), bytes);
  return buffer;
}

kernels::Linear WeightLoader::linear(std::string_view prefix,
                                     std::initializer_list<std::string_view> modules) const {
  kernels::Linear linear;
  for (const std::string_view module : modules) {
    const std::string name = fmt::format("{}{}", prefix, module);
    kernels::Linear::Part part;
    part.weight = matrix(name + ".weight");
    if (specs_.contains(name + ".bias")) part.bias = vector(name + ".bias");
    linear.rows += part.weight->rows();
    linear.cols = part.weight->cols();
    linear.parts.push_back(std::move(part));
  }
  return linear;
}

kernels::LayerWeights WeightLoader::layer(int layer) const {
  const ModelConfig& config = source_.config();
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const std::string attention = prefix + "self_attn.";
  const std::string mlp = prefix + "mlp.";
  kernels::LayerWeights out;
  out.attention_norm = vector(prefix + "input_layernorm.weight");
  out.qkv = config.fused_qkv ? linear(attention, {"qkv_proj"})
                             : linear(attention, {"q_proj", "k_proj", "v_proj"});
  if (config.qk_norm) {
    out.q_norm = vector(attention + "q_norm.weight");
    out.k_norm = vector(attention + "k_norm.weight");
  }
  out.attention_out = linear(attention, {"o_proj"});
  out.mlp_norm = vector(prefix + "post_attention_layernorm.weight");
  out.gate_up =
      config.fused_gate_up ? linear(mlp, {"gate_up_proj"}) : linear(mlp, {"gate_proj", "up_proj"});
  out.down = linear(mlp, {"down_proj"});
  return out;
}

int layer_of(const TensorSpec& spec) {
  UPG_CHECK(spec.role == Role::kMatrix && spec.name.starts_with(kLayerPrefix));
  const std::string_view rest = std::string_view(spec.name).substr(kLayerPrefix.size());
  int layer = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  return layer;
}

kernels::Linear& layer_linear(kernels::LayerWeights& weights, const TensorSpec& spec) {
  if (spec.name.ends_with(".o_proj.weight")) return weights.attention_out;
  if (spec.name.ends_with(".down_proj.weight")) return weights.down;
  return spec.name.find(".mlp.") != std::string::npos ? weights.gate_up : weights.qkv;
}

// q, k, v and gate, up come in this order; fused ones are a single part.
kernels::Linear::Part& layer_part(kernels::LayerWeights& weights, const TensorSpec& spec) {
  size_t part = 0;
  if (spec.name.ends_with(".k_proj.weight")) part = 1;
  if (spec.name.ends_with(".v_proj.weight")) part = 2;
  if (spec.name.ends_with(".up_proj.weight")) part = 1;
  return layer_linear(weights, spec).parts[part];
}

kernels::LayerWeights load_layer(const ModelSource& source, kernels::Backend& backend, int layer) {
  return WeightLoader(source, backend).layer(layer);
}

}  // namespace upg::model
