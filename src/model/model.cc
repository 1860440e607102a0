#include "model/model.h"

#include <fmt/format.h>

#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "base/memory.h"
#include "model/layer_loader.h"
#include "upg/error.h"

namespace upg::model {
namespace {

constexpr const char* kEmbedding = "model.embed_tokens.weight";

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
             const ModelLimits& limits, const HostPart& host)
    : source_(std::move(source)), backend_(backend), limits_(limits) {
  if (limits.max_tokens < 1 || limits.max_logits < 1) {
    throw Error(ErrorCode::kUsage,
                fmt::format("a step of {} tokens and {} logits, allowed are 1 and more",
                            limits.max_tokens, limits.max_logits));
  }
  const auto split = static_cast<size_t>(host.layers);
  const auto layers = static_cast<size_t>(config().layers);
  UPG_CHECK(split < layers && (split == 0 || host.backend != nullptr));
  if (split > 0) stages_.push_back({host.backend, 0, split, {}, {}});
  stages_.push_back({&backend_, split, layers, {}, {}});
  // Before the first page is read: what the system reads ahead then comes in huge pages, where the
  // file system has them.
  for (const std::span<const std::byte> bytes : source_->mappings()) base::advise_huge_pages(bytes);
  parameters_ = parameter_count(source_->specs());
  bytes_per_token_ = bytes_read_per_token(*source_);
  load_weights();
  allocate_scratch();
  describe_steps();
}

Model::~Model() = default;

void Model::load_weights() {
  for (const Stage& stage : stages_) {
    const WeightLoader loader(*source_, *stage.backend);
    if (stage.first == 0) embedding_ = loader.matrix(kEmbedding);
    for (size_t layer = stage.first; layer < stage.end; ++layer) {
      layers_.push_back(loader.layer(static_cast<int>(layer)));
    }
  }
  const WeightLoader loader(*source_, backend_);
  final_norm_ = loader.vector("model.norm.weight");
  if (config().tied_head) {
    const bool here = stages_.size() == 1;
    head_.parts.push_back({here ? embedding_ : loader.matrix(kEmbedding), {}});
    head_.rows = embedding_->rows();
    head_.cols = embedding_->cols();
  } else {
    head_ = loader.linear("", {"lm_head"});
  }
}

kernels::Buffer Model::scratch(kernels::Backend& backend, int64_t rows, int64_t cols) {
  const auto floats = base::checked_mul<uint64_t>(static_cast<uint64_t>(rows),
                                                  static_cast<uint64_t>(cols), "scratch");
  const uint64_t bytes = base::checked_mul<uint64_t>(floats, sizeof(float), "scratch");
  scratch_bytes_ += bytes;
  return backend.allocate(bytes);
}

void Model::allocate_scratch() {
  const ModelConfig& c = config();
  for (Stage& stage : stages_) {
    stage.x = scratch(*stage.backend, limits_.max_tokens, c.hidden);
    stage.scratch = LayerScratch(*stage.backend, c, limits_.max_tokens);
    scratch_bytes_ += stage.scratch.bytes();
  }
  picked_ = scratch(backend_, limits_.max_logits, c.hidden);
  logits_ = scratch(backend_, limits_.max_logits, c.vocabulary);
}

void Model::describe_steps() {
  for (const Stage& stage : stages_) {
    for (size_t layer = stage.first; layer < stage.end; ++layer) {
      kernels::LayerStep step = layer_step(config(), static_cast<int>(layer));
      step.weights = &layers_[layer];
      step.x = stage.x.floats();
      steps_.push_back(step);
    }
  }
}

const kernels::Rope& Model::rope_for(int64_t planned_tokens) const noexcept {
  const bool is_long = config().long_from > 0 && planned_tokens > config().long_from;
  return is_long ? config().long_rope : config().rope;
}

uint64_t scratch_bytes(const ModelConfig& config, const ModelLimits& limits) noexcept {
  const int64_t a_token = 2 * config.hidden + config.attention.qkv_width() +
                          config.attention.q_width() + 3 * config.intermediate;
  const int64_t a_row = config.hidden + config.vocabulary;
  return sizeof(float) *
         static_cast<uint64_t>(a_token * limits.max_tokens + a_row * limits.max_logits);
}

uint64_t cache_bytes_per_token(const ModelConfig& config, kernels::KvType k_type,
                               kernels::KvType v_type) noexcept {
  const uint64_t a_head = kernels::kv_row_bytes(k_type, config.attention.head_dim) +
                          kernels::kv_row_bytes(v_type, config.attention.head_dim);
  return a_head * static_cast<uint64_t>(config.attention.kv_heads) *
         static_cast<uint64_t>(config.layers);
}

}  // namespace upg::model
