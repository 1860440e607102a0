// For tests: runs one sequence through a model with a cache of its own, in chunks of any length.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "model/model.h"

namespace upg::model {

class StepRunner {
 public:
  StepRunner(std::shared_ptr<const ModelSource> source, kernels::Backend& backend, int context,
             kernels::KvType type)
      : model_(std::move(source), backend, {.max_tokens = context, .max_logits = context}),
        backend_(backend) {
    const ModelConfig& config = model_.config();
    const int pages = (context + kernels::kPageTokens - 1) / kernels::kPageTokens;
    // Numbered backwards: nothing may take a page's number for its place in the sequence.
    pages_.resize(static_cast<size_t>(pages));
    std::iota(pages_.rbegin(), pages_.rend(), 0);
    const size_t bytes = kernels::kv_row_bytes(type, config.attention.head_dim) *
                         static_cast<size_t>(config.attention.kv_heads) * kernels::kPageTokens *
                         static_cast<size_t>(pages);
    for (int layer = 0; layer < config.layers; ++layer) {
      buffers_.push_back(backend.allocate(2 * bytes));
      std::byte* const begin = buffers_.back().bytes();
      cache_.push_back({begin, begin + bytes, type, type});
    }
  }

  // Forgets the sequence and starts one that is planned to get that long.
  void restart(int64_t planned_tokens) {
    past_ = 0;
    rope_ = &model_.rope_for(planned_tokens);
  }

  // Appends ids; logits of each of them, [ids.size(), vocabulary].
  std::vector<float> step(std::span<const int32_t> ids) {
    std::vector<int32_t> rows(ids.size());
    std::iota(rows.begin(), rows.end(), 0);
    return step(ids, rows);
  }

  // The same, logits of some rows only.
  std::vector<float> step(std::span<const int32_t> ids, std::span<const int32_t> wanted) {
    kernels::SequenceSlice slice;
    slice.tokens = static_cast<int>(ids.size());
    slice.past = past_;
    slice.pages = pages_;
    kernels::StepBatch batch;
    batch.tokens = slice.tokens;
    batch.ids = ids;
    batch.sequences = {&slice, 1};
    batch.ropes = {&rope_, 1};
    const float* const logits = model_.forward(batch, cache_, wanted);
    past_ += slice.tokens;
    return copy(logits, wanted.size());
  }

  // The whole sequence in chunks of `chunk` tokens.
  std::vector<float> run(std::span<const int32_t> ids, size_t chunk, int64_t planned_tokens) {
    restart(planned_tokens);
    std::vector<float> out;
    for (size_t first = 0; first < ids.size(); first += chunk) {
      const auto part = step(ids.subspan(first, std::min(chunk, ids.size() - first)));
      out.insert(out.end(), part.begin(), part.end());
    }
    return out;
  }

  Model& model() noexcept { return model_; }

 private:
  std::vector<float> copy(const float* logits, size_t rows) {
    std::vector<float> out(rows * static_cast<size_t>(model_.config().vocabulary));
    if (!out.empty()) backend_.download(out.data(), logits, out.size() * sizeof(float));
    return out;
  }

  Model model_;
  kernels::Backend& backend_;
  std::vector<kernels::Buffer> buffers_;
  std::vector<kernels::KvLayer> cache_;
  std::vector<int32_t> pages_;
  const kernels::Rope* rope_ = nullptr;
  int past_ = 0;
};

// Largest difference as a share of the largest value of `want` (at least 1). NaN counts as 1e30.
inline double relative_error(std::span<const float> got, std::span<const float> want) {
  if (got.size() != want.size()) return 1e30;
  double worst = 0;
  double scale = 1;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - want[i]);
    if (!(error <= worst)) worst = error == error ? error : 1e30;
    scale = std::max(scale, std::abs(static_cast<double>(want[i])));
  }
  return worst / scale;
}

}  // namespace upg::model
