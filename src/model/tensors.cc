#include "model/tensors.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace upg::model {
namespace {

// Collects the tensors of one layer; names as transformers writes them.
class LayerSpecs {
 public:
  LayerSpecs(const ModelConfig& config, int layer, std::vector<TensorSpec>& out)
      : config_(config), prefix_(fmt::format("model.layers.{}.", layer)), out_(out) {}

  void add() {
    vector("input_layernorm.weight", config_.hidden);
    add_qkv();
    matrix("self_attn.o_proj", config_.hidden, config_.attention.q_width(),
           "self_attn.o_proj.input");
    vector("post_attention_layernorm.weight", config_.hidden);
    add_mlp();
  }

 private:
  void add_qkv() {
    const kernels::AttentionShape& shape = config_.attention;
    const int64_t kv_width = static_cast<int64_t>(shape.kv_heads) * shape.head_dim;
    if (config_.fused_qkv) {
      qkv("self_attn.qkv_proj", shape.qkv_width());
    } else {
      qkv("self_attn.q_proj", shape.q_width());
      qkv("self_attn.k_proj", kv_width);
      qkv("self_attn.v_proj", kv_width);
    }
    if (config_.qk_norm) {
      vector("self_attn.q_norm.weight", shape.head_dim);
      vector("self_attn.k_norm.weight", shape.head_dim);
    }
  }

  void add_mlp() {
    if (config_.fused_gate_up) {
      matrix("mlp.gate_up_proj", 2 * config_.intermediate, config_.hidden, "mlp.input");
    } else {
      matrix("mlp.gate_proj", config_.intermediate, config_.hidden, "mlp.input");
      matrix("mlp.up_proj", config_.intermediate, config_.hidden, "mlp.input");
    }
    matrix("mlp.down_proj", config_.hidden, config_.intermediate, "mlp.down_proj.input");
  }

  void qkv(std::string_view module, int64_t rows) {
    matrix(module, rows, config_.hidden, "self_attn.input");
    if (config_.qkv_bias) vector(fmt::format("{}.bias", module), rows);
  }

  void matrix(std::string_view module, int64_t rows, int64_t cols, std::string_view input) {
    out_.push_back({fmt::format("{}{}.weight", prefix_, module), rows, cols, Role::kMatrix,
                    fmt::format("{}{}", prefix_, input)});
  }

  void vector(std::string_view name, int64_t rows) {
    out_.push_back({fmt::format("{}{}", prefix_, name), rows, 1, Role::kVector, {}});
  }

  const ModelConfig& config_;
  std::string prefix_;
  std::vector<TensorSpec>& out_;
};

}  // namespace

std::vector<TensorSpec> tensor_specs(const ModelConfig& config) {
  std::vector<TensorSpec> specs;
  specs.push_back(
      {"model.embed_tokens.weight", config.vocabulary, config.hidden, Role::kEmbedding, {}});
  for (int layer = 0; layer < config.layers; ++layer) LayerSpecs(config, layer, specs).add();
  specs.push_back({"model.norm.weight", config.hidden, 1, Role::kVector, {}});
  if (!config.tied_head) {
    specs.push_back({"lm_head.weight", config.vocabulary, config.hidden, Role::kHead, {}});
  }
  return specs;
}

uint64_t parameter_count(const std::vector<TensorSpec>& specs) {
  uint64_t count = 0;
  for (const TensorSpec& spec : specs) {
    count += static_cast<uint64_t>(spec.rows) * static_cast<uint64_t>(spec.cols);
  }
  return count;
}

}  // namespace upg::model
