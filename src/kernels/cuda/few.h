// Kernels of a step of 2 to kMostFewInputs tokens on compute capability 9.0, as launch.h has
// others: queued on a stream, no checks.
#pragma once

#include "kernels/cuda/few_plan.h"
#include "kernels/cuda/launch.h"

namespace upg::kernels::cuda {

// The norm of an input that was prepared without: 1 / sqrt(mean of squares + epsilon).
struct InputNorm {
  const float* squares = nullptr;  // [rows, blocks] sums, or nullptr: 1
  int blocks = 0;
  int cols = 0;
  float epsilon = 0;
};

// What becomes of the sums of a product.
struct FewEnd {
  InputNorm norm;  // that sums are multiplied by
  // Rows are gate, then up, in multiples of 8: the output is silu(gate) * up, and in blocks of 128
  // columns becomes the next product's input. gated_tiles: [blocks], zero between uses.
  int gated = 0;
  int* gated_tiles = nullptr;
  // Not nullptr: the output, added to and in whole blocks of 128 rows, times weight [rows] becomes
  // the next product's input, without its norm; squares: [rows, blocks], for that.
  const float* weight = nullptr;
  float* squares = nullptr;
  TileForm to = {};  // of the next product's input
};
// multiply_on_hopper() for few inputs (products_few.cu); false when the shape does not fit.
bool multiply_few(const MatrixView& w, const InputView& x, const OutputView& out, const FewEnd& end,
                  const ProductScratch& scratch, const DeviceLimits& limits, cudaStream_t stream);
// How it is cut. whole_blocks: for an `end` with a weight.
FewPlan few_plan_of(const MatrixView& w, int inputs, bool whole_blocks,
                    const DeviceLimits& limits) noexcept;

// x times weight, without the norm; squares: [rows, blocks], sums of the squares of x (fused.cu).
void scaled_to_tiles(const float* x, const float* weight, int64_t rows, int64_t cols,
                     const TileForm& form, float* squares, cudaStream_t stream);
// gated_to_tiles() of a product whose input had no norm.
void normed_gated_to_tiles(const float* gate_up, int64_t rows, int64_t cols, const InputNorm& norm,
                           const TileForm& form, cudaStream_t stream);

// Rotary turn, cache and attention of a step in which every sequence has one token: its output as
// inputs of a product (attention_few.cuh).
struct FewAttention {
  const float* qkv;  // [tokens, heads + 2 kv heads, head_dim]
  InputNorm norm;    // of qkv
  AttentionShape shape;
  const float* q_norm;  // or nullptr
  const float* k_norm;
  float epsilon;
  KvLayer cache;
  StepView step;
  TileForm to;
  int row_bytes;  // of the cache
  FewAttentionPlan plan;
  float* parts;   // of items where sequences are divided, of each and head so many as kPartFloats
  int* counters;  // [tokens, kv heads], likewise; zero between uses
};
bool has_few_attention(const AttentionShape& shape, const KvLayer& cache);
void attend_to_tiles(const FewAttention& attention, cudaStream_t stream);

}  // namespace upg::kernels::cuda
