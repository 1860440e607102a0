// Every kernel of this folder, as the backend calls it: queued on a stream, no checks. Shapes are
// the backend's promise. Pointers are device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/views.h"

namespace upg::kernels::cuda {

// ---- weights (repack.cu)

// Codes of `sparse` as those of path4 with one palette. offsets: [row groups + 1], in bytes.
void sparse_to_path4(const uint8_t* masks, const uint8_t* codes, const uint32_t* offsets,
                     int64_t row_groups, int64_t blocks, uint8_t* out, cudaStream_t stream);

// Half-width elements of a raw matrix as float32, [rows, cols].
void widen(const MatrixView& w, float* out, cudaStream_t stream);

// ---- the device (facts.cu)

// Bytes a second, the best of a few passes over memory that no cache holds; 0 when there is too
// little of it. Waits.
double measure_read(int multiprocessors, uint64_t available) noexcept;

// ---- inputs of products (prepare.cu)

struct PreparedForm {
  const uint8_t* signs;  // [blocks * 16] or nullptr
  int8_t* q;             // integers: as InputView; x null
  int64_t tiled_rows;    // as InputView
  uint32_t* tile_scale;  // likewise
  float* scale;
  int32_t* sum;
  float* x;  // floats
};
// x: [rows, cols]
void prepare(const float* x, int64_t rows, int64_t cols, const PreparedForm& form,
             cudaStream_t stream);

// ---- products (products_path.cu, products_mma.cu, products_float.cu)

// Several inputs at once: decodes a weight once for up to 64.
void multiply_on_tensor_cores(const MatrixView& w, const InputView& x, const OutputView& out,
                              cudaStream_t stream);
// The same for inputs in tiles, on devices of compute capability 9.0.
struct ProductScratch {
  float* parts;   // [2 * multiprocessors, kMostPartFloats]
  int* counters;  // [kMostPartTiles], zero between uses
};
inline constexpr int kMostPartFloats = 256 * 64;
inline constexpr int kMostPartTiles = 1024;
void multiply_on_hopper(const MatrixView& w, const InputView& x, const OutputView& out,
                        const ProductScratch& scratch, int multiprocessors, cudaStream_t stream);
void multiply_integers(const MatrixView& w, const InputView& x, const OutputView& out,
                       cudaStream_t stream);
void multiply_floats(const MatrixView& w, const InputView& x, const OutputView& out,
                     cudaStream_t stream);
// x[t, :] = row ids[t]
void embed(const MatrixView& w, const int32_t* ids, int64_t tokens, float* x, cudaStream_t stream);

// ---- what lies between the products (elementwise.cu)

void rms_norm(float* y, const float* x, const float* weight, float epsilon, int64_t rows,
              int64_t cols, cudaStream_t stream);
void swiglu(float* y, const float* gate_up, int64_t rows, int64_t n, cudaStream_t stream);
void gather_rows(float* y, const float* x, const int32_t* indices, int64_t rows, int64_t cols,
                 cudaStream_t stream);

// ---- the same in fewer kernels, on compute capability 9.0 (fused.cu). cols: multiples of 4.

// Integers in tiles, as InputView: q and scale are written.
struct TileForm {
  const uint8_t* signs;  // [blocks * 16] or nullptr
  int8_t* q;
  uint32_t* scale;
  int64_t tiled_rows;
};
// The norm of x [rows, cols], x itself, SwiGLU of gate_up [rows, 2 cols].
void norm_to_tiles(const float* x, const float* weight, float epsilon, int64_t rows, int64_t cols,
                   const TileForm& form, cudaStream_t stream);
void plain_to_tiles(const float* x, int64_t rows, int64_t cols, const TileForm& form,
                    cudaStream_t stream);
void gated_to_tiles(const float* gate_up, int64_t rows, int64_t cols, const TileForm& form,
                    cudaStream_t stream);

// ---- choosing a token (sampling.cu)

// ids[i] = the largest of logits[i, :], of equal ones the lowest. best: kBestParts a row.
struct Best {
  float logit;
  int32_t id;
};
inline constexpr int kBestParts = 64;
void best_ids(const float* logits, int64_t rows, int64_t vocabulary, Best* best, int32_t* ids,
              cudaStream_t stream);

// ---- attention (attention.cu)

// A step's tokens and sequences in device memory.
struct StepView {
  int tokens;
  int rotary_dims;
  const int32_t* ids;        // [tokens]
  const int32_t* positions;  // [tokens]
  const int32_t* pages;      // of all sequences, one after the other
  const int32_t* page_base;  // [tokens]: where in `pages` the token's sequence begins
  const float* cos;          // [tokens, rotary_dims / 2]
  const float* sin;
};
// The rotary tables of a step. inv_freq: one table of `half` numbers and a scale after another;
// tables: [tokens], which one.
void rope_tables(const float* inv_freq, const int32_t* tables, const int32_t* positions, int tokens,
                 int half, float* cos, float* sin, cudaStream_t stream);
void rope(float* qkv, const AttentionShape& shape, const float* q_norm, const float* k_norm,
          float epsilon, const StepView& step, cudaStream_t stream);
void store_kv(const float* qkv, const AttentionShape& shape, const KvLayer& cache,
              const StepView& step, cudaStream_t stream);
// rope(), then store_kv(), on compute capability 9.0 (fused.cu).
void rope_and_store(float* qkv, const AttentionShape& shape, const float* q_norm,
                    const float* k_norm, float epsilon, const KvLayer& cache, const StepView& step,
                    cudaStream_t stream);
// splits: parts into which a token's positions are cut; with more than one, partials holds
// [tokens, heads, splits, head_dim + 2] floats.
void attend(float* out, const float* qkv, const AttentionShape& shape, const KvLayer& cache,
            const StepView& step, int splits, float* partials, cudaStream_t stream);

// The same for many tokens of one sequence, an f16 cache and heads that has_fast_attention() knows.
// positions, pages: of this sequence.
inline constexpr int kPromptTokens = 16;  // with fewer, attend() is faster
void attend_prompt(float* out, const float* qkv, const AttentionShape& shape, const KvLayer& cache,
                   const int32_t* positions, const int32_t* pages, int tokens, cudaStream_t stream);

}  // namespace upg::kernels::cuda
