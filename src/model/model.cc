#include "model/model.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "upg/error.h"

namespace upg::model {
namespace {

// Brings tensors into a backend's memory by their names in the checkpoint.
class Loader {
 public:
  Loader(const ModelSource& source, kernels::Backend& backend)
      : source_(source), backend_(backend) {
    for (const TensorSpec& spec : source.specs()) specs_.emplace(spec.name, &spec);
  }

  std::shared_ptr<const kernels::Weight> matrix(std::string_view name) const {
    return backend_.load(source_.matrix(spec(name)));
  }

  kernels::Buffer vector(std::string_view name) const {
    const std::vector<float> values = source_.vector(spec(name));
    const size_t bytes = values.size() * sizeof(float);
    kernels::Buffer buffer = backend_.allocate(bytes);
    backend_.upload(buffer.floats(), values.data(), bytes);
    return buffer;
  }

  // Modules whose outputs lie one after the other: name + ".weight", and name + ".bias" if any.
  kernels::Linear linear(std::string_view prefix,
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

 private:
  const TensorSpec& spec(std::string_view name) const {
    const auto found = specs_.find(name);
    UPG_CHECK(found != specs_.end());
    return *found->second;
  }

  const ModelSource& source_;
  kernels::Backend& backend_;
  std::map<std::string_view, const TensorSpec*> specs_;
};

kernels::LayerWeights load_layer(const Loader& loader, const ModelConfig& config, int layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const std::string attention = prefix + "self_attn.";
  const std::string mlp = prefix + "mlp.";
  kernels::LayerWeights out;
  out.attention_norm = loader.vector(prefix + "input_layernorm.weight");
  out.qkv = config.fused_qkv ? loader.linear(attention, {"qkv_proj"})
                             : loader.linear(attention, {"q_proj", "k_proj", "v_proj"});
  if (config.qk_norm) {
    out.q_norm = loader.vector(attention + "q_norm.weight");
    out.k_norm = loader.vector(attention + "k_norm.weight");
  }
  out.attention_out = loader.linear(attention, {"o_proj"});
  out.mlp_norm = loader.vector(prefix + "post_attention_layernorm.weight");
  out.gate_up = config.fused_gate_up ? loader.linear(mlp, {"gate_up_proj"})
                                     : loader.linear(mlp, {"gate_proj", "up_proj"});
  out.down = loader.linear(mlp, {"down_proj"});
  return out;
}

uint64_t bytes_read_per_token(const ModelSource& source) {
  uint64_t bytes = 0;
  for (const TensorSpec& spec : source.specs()) {
    const bool read = spec.role != Role::kEmbedding || source.config().tied_head;
    if (read) bytes += source.stored_bytes(spec);
  }
  return bytes;
}

}  // namespace

Model::Model(std::shared_ptr<const ModelSource> source, kernels::Backend& backend,
             const ModelLimits& limits)
    : source_(std::move(source)), backend_(backend), limits_(limits) {
  if (limits.max_tokens < 1 || limits.max_logits < 1) {
    throw Error(ErrorCode::kUsage,
                fmt::format("a step of {} tokens and {} logits, allowed are 1 and more",
                            limits.max_tokens, limits.max_logits));
  }
  parameters_ = parameter_count(source_->specs());
  bytes_per_token_ = bytes_read_per_token(*source_);
  load_weights();
  allocate_scratch();
}

Model::~Model() = default;

void Model::load_weights() {
  const Loader loader(*source_, backend_);
  embedding_ = loader.matrix("model.embed_tokens.weight");
  for (int layer = 0; layer < config().layers; ++layer) {
    layers_.push_back(load_layer(loader, config(), layer));
  }
  final_norm_ = loader.vector("model.norm.weight");
  if (config().tied_head) {
    head_.parts.push_back({embedding_, {}});
    head_.rows = embedding_->rows();
    head_.cols = embedding_->cols();
  } else {
    head_ = loader.linear("", {"lm_head"});
  }
}

kernels::Buffer Model::scratch(int64_t rows, int64_t cols) {
  const auto floats = base::checked_mul<uint64_t>(static_cast<uint64_t>(rows),
                                                  static_cast<uint64_t>(cols), "scratch");
  const uint64_t bytes = base::checked_mul<uint64_t>(floats, sizeof(float), "scratch");
  scratch_bytes_ += bytes;
  return backend_.allocate(bytes);
}

void Model::allocate_scratch() {
  const ModelConfig& c = config();
  x_ = scratch(limits_.max_tokens, c.hidden);
  normed_ = scratch(limits_.max_tokens, c.hidden);
  qkv_ = scratch(limits_.max_tokens, c.attention.qkv_width());
  attended_ = scratch(limits_.max_tokens, c.attention.q_width());
  gate_up_ = scratch(limits_.max_tokens, 2 * c.intermediate);
  gated_ = scratch(limits_.max_tokens, c.intermediate);
  picked_ = scratch(limits_.max_logits, c.hidden);
  logits_ = scratch(limits_.max_logits, c.vocabulary);
}

const kernels::Rope& Model::rope_for(int64_t planned_tokens) const noexcept {
  const bool is_long = config().long_from > 0 && planned_tokens > config().long_from;
  return is_long ? config().long_rope : config().rope;
}

uint64_t cache_bytes_per_token(const ModelConfig& config, kernels::KvType k_type,
                               kernels::KvType v_type) noexcept {
  const uint64_t a_head = kernels::kv_row_bytes(k_type, config.attention.head_dim) +
                          kernels::kv_row_bytes(v_type, config.attention.head_dim);
  return a_head * static_cast<uint64_t>(config.attention.kv_heads) *
         static_cast<uint64_t>(config.layers);
}

}  // namespace upg::model
