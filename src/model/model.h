// A model on a backend: its weights, its scratch, and the step that turns tokens into logits.
//
//   auto source = ModelSource::open("phi-4.upg");
//   Model model(std::move(source), *backend, {.max_tokens = 512, .max_logits = 1});
//   const float* logits = model.forward(batch, cache, wanted_rows);
//
// It knows nothing of sequences beyond a step: who owns pages, which tokens come next and what
// becomes of the logits is the runtime's part.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "model/layer.h"
#include "model/source.h"

namespace upg::model {

struct ModelLimits {
  int max_tokens = 512;  // rows of one step
  int max_logits = 1;    // rows of one call that returns logits (each is `vocabulary` floats)
};

// Layers that another backend computes: the first `layers`, and the embedding before them.
struct HostPart {
  kernels::Backend* backend = nullptr;
  int layers = 0;
};

// Its weights and scratch lie in the backend's memory, which must outlive it. One thread at a time.
class Model {
 public:
  // Uploads every weight and allocates everything forward() needs. Throws Error: what reading the
  // source throws, kOutOfMemory, kUsage when a limit is not positive.
  Model(std::shared_ptr<const ModelSource> source, kernels::Backend& backend,
        const ModelLimits& limits, const HostPart& host = {});
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelConfig& config() const noexcept { return source_->config(); }
  const ModelSource& source() const noexcept { return *source_; }
  kernels::Backend& backend() const noexcept { return backend_; }
  const ModelLimits& limits() const noexcept { return limits_; }

  // Of a layer: where its weights are, and its cache must be.
  kernels::Backend& backend_of(int layer) const noexcept {
    return *stages_[static_cast<size_t>(layer) < stages_[0].end ? 0 : stages_.size() - 1].backend;
  }

  // One step of at most max_tokens rows. cache: one entry a layer, with pages enough for the step.
  // wanted_rows: the rows of the step whose logits are asked for, at most max_logits, may be none.
  // Returns logits in the backend's memory, [wanted_rows.size(), vocabulary], the caller's until
  // the next call. Queues work only: download() or synchronise() waits for it. Every id must be in
  // [0, vocabulary): the caller checks what users send.
  float* forward(const kernels::StepBatch& batch, std::span<const kernels::KvLayer> cache,
                 std::span<const int32_t> wanted_rows);

  // More rows of the last step, at most max_logits a call. Same result, same lifetime.
  float* logits(std::span<const int32_t> rows);

  // The residual stream after the last layer, before the final norm: [tokens of the last step,
  // hidden], in the backend's memory, valid until the next forward().
  const float* hidden() const noexcept { return stages_.back().x.floats(); }
  // The same after the final norm, of the given rows (at most max_logits): what the head reads and
  // what embeddings are pooled from. Valid until the next call.
  const float* normed(std::span<const int32_t> rows);

  // The rotary tables of a sequence that will get at most planned_tokens long.
  const kernels::Rope& rope_for(int64_t planned_tokens) const noexcept;

  // Stored bytes that one generated token reads: every matrix and vector but the embedding table
  // (which counts when it is the head too).
  uint64_t bytes_per_token() const noexcept { return bytes_per_token_; }
  uint64_t parameters() const noexcept { return parameters_; }
  uint64_t scratch_bytes() const noexcept { return scratch_bytes_; }

 private:
  // Layers [first, end) on one backend.
  struct Stage {
    kernels::Backend* backend = nullptr;
    size_t first = 0;
    size_t end = 0;
    kernels::Buffer x;     // [max_tokens, hidden]: the residual stream
    LayerScratch scratch;  // for max_tokens
  };

  void load_weights();
  void allocate_scratch();
  void describe_steps();
  void run_stage(const Stage& stage, int tokens);
  void hand_over(const Stage& from, const Stage& to, int tokens);
  // All of a step of one token by the backend; false when it does not offer that.
  bool token_step(bool with_logits);
  kernels::Buffer scratch(kernels::Backend& backend, int64_t rows, int64_t cols);

  std::shared_ptr<const ModelSource> source_;
  kernels::Backend& backend_;
  ModelLimits limits_;
  uint64_t bytes_per_token_ = 0;
  uint64_t parameters_ = 0;
  uint64_t scratch_bytes_ = 0;
  int step_tokens_ = 0;  // rows of the last step

  std::shared_ptr<const kernels::Weight> embedding_;
  std::vector<kernels::LayerWeights> layers_;
  kernels::Buffer final_norm_;  // [hidden]
  kernels::Linear head_;        // one part; with a tied head the embedding itself

  std::vector<Stage> stages_;   // one or two; the last one's backend computes the head
  std::vector<float> between_;  // them: [max_tokens, hidden]
  kernels::Buffer picked_;      // [max_logits, hidden]
  kernels::Buffer logits_;      // [max_logits, vocabulary]

  std::vector<kernels::LayerStep> steps_;  // of the layers; their caches change from step to step
};

// Of each stage of a model of that shape, and of its head.
uint64_t scratch_bytes(const ModelConfig& config, const ModelLimits& limits) noexcept;

// Bytes of KV cache one token takes in all layers.
uint64_t cache_bytes_per_token(const ModelConfig& config, kernels::KvType k_type,
                               kernels::KvType v_type) noexcept;

}  // namespace upg::model
