// The kernel seam: the operations a model may call, offered by each device.
//
// A backend owns its memory, its streams or its thread team, and its scratch. `float*` arguments
// are addresses in the backend's own memory (allocate()); the model never reads through them. All
// operations are queued in call order; synchronise() and download() wait for them. One thread at a
// time. Shapes are the caller's promise, checked when the model was built; operations do not throw
// for them. reference is the specification: every other backend agrees with it to the tolerance in
// kernels_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/matrix.h"

namespace upg::kernels {

class Backend;

// Memory of a backend; freed with it. Movable.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Backend* owner, void* data, size_t bytes) : owner_(owner), data_(data), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  float* floats() const noexcept { return static_cast<float*>(data_); }
  std::byte* bytes() const noexcept { return static_cast<std::byte*>(data_); }
  size_t size() const noexcept { return bytes_; }

 private:
  Backend* owner_ = nullptr;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// A matrix made ready for a backend: on the CPU a view of the mapped file, on a GPU a copy.
class Weight {
 public:
  Weight(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {}
  virtual ~Weight() = default;
  int64_t rows() const noexcept { return rows_; }
  int64_t cols() const noexcept { return cols_; }

 private:
  int64_t rows_;
  int64_t cols_;
};

// One linear layer: matrices over the same input whose outputs lie one after the other (q, k and v
// of a checkpoint that keeps them apart; a fused one is a single part), each with an optional bias.
struct Linear {
  struct Part {
    std::shared_ptr<const Weight> weight;
    Buffer bias;  // [weight->rows()] floats, or empty
  };
  std::vector<Part> parts;
  int64_t rows = 0;  // of all parts
  int64_t cols = 0;
};

// Input vectors made ready for products: rotated and quantised as the matrices of one Linear need
// it. Owned by the backend, valid until its next prepare() and as long as the vectors are there
// unchanged: what takes them as they are reads them there.
class Prepared {
 public:
  virtual ~Prepared() = default;
};

enum class Store { kSet, kAdd };  // y = ..., y += ...

// ---- attention ----------------------------------------------------------------------------------

inline constexpr int kPageTokens = 32;  // tokens in a page of the KV cache

enum class KvType : uint8_t { kF32, kF16, kQ8 };  // kQ8: per 32 values an f16 scale, then 32 int8

inline constexpr int kQ8Values = 32;
inline constexpr int kQ8Bytes = 34;

// Bytes of one token's vector of one head. head_dim must be a multiple of 32 for kQ8.
size_t kv_row_bytes(KvType type, int head_dim) noexcept;

// The cache of one layer. Page p holds tokens of one sequence: [kv_heads][kPageTokens][row].
struct KvLayer {
  std::byte* k = nullptr;  // page p begins at k + p * kv_heads * kPageTokens * kv_row_bytes(k_type)
  std::byte* v = nullptr;
  KvType k_type = KvType::kF16;
  KvType v_type = KvType::kF16;
};

// What one sequence contributes to a step: rows [first, first + tokens) of the step, at positions
// past ... past + tokens - 1.
struct SequenceSlice {
  int first = 0;
  int tokens = 0;
  int past = 0;                    // tokens of it that are in the cache already
  std::span<const int32_t> pages;  // page numbers, enough for past + tokens
};

// Rotary tables: angle = position * inv_freq[i], cos and sin both times `scale`.
struct Rope {
  std::vector<float> inv_freq;  // [rotary_dims / 2]
  float scale = 1.0f;
};

// One step through the model: tokens of several sequences, in rows.
struct StepBatch {
  int tokens = 0;
  std::span<const int32_t> ids;              // [tokens], each < vocabulary
  std::span<const SequenceSlice> sequences;  // cover the rows in order
  std::span<const Rope* const> ropes;        // [sequences]: longrope differs by sequence
};

struct AttentionShape {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int rotary_dims = 0;  // the first so many dimensions of a head turn, rotate-half layout
  float scale = 0;      // of the scores: 1 / sqrt(head_dim)
  int window = 0;       // a token sees the last `window` positions, itself included; 0 = all
  int qkv_width() const noexcept { return (heads + 2 * kv_heads) * head_dim; }
  int q_width() const noexcept { return heads * head_dim; }
};

// ---- a layer ------------------------------------------------------------------------------------

struct LayerWeights {
  Buffer attention_norm;  // [hidden]
  Linear qkv;             // rows: q heads, k heads, v heads
  Buffer q_norm;          // [head_dim], or empty
  Buffer k_norm;          // [head_dim], or empty
  Linear attention_out;
  Buffer mlp_norm;  // [hidden]
  Linear gate_up;   // rows: gate, then up
  Linear down;
};

// Everything one layer does to the residual stream, for backends that do it in one launch.
struct LayerStep {
  const LayerWeights* weights = nullptr;
  AttentionShape attention;
  float norm_epsilon = 0;
  int64_t hidden = 0;
  int64_t intermediate = 0;
  KvLayer cache;
  float* x = nullptr;  // [tokens, hidden], in and out
};

// A whole token of one sequence, from its id to the logits after it, for backends that do it in one
// launch or one a layer.
struct TokenStep {
  std::span<const LayerStep> layers;
  const Weight* embedding = nullptr;
  const float* final_norm = nullptr;  // [hidden]
  const Linear* head = nullptr;
  float norm_epsilon = 0;
  float* x = nullptr;       // [hidden]: the residual stream, out
  float* logits = nullptr;  // [vocabulary], out, or nullptr where nobody asks for them
};

// ---- choosing a token
// -----------------------------------------------------------------------------

// What happens to one logit before a token is chosen: above 0 it is divided by `penalty`, else
// multiplied by it, then `add` is added. Results are clamped to finite numbers; -infinity, as a
// logit or as `add`, rules the token out.
struct LogitChange {
  int32_t id = 0;
  float penalty = 1;  // > 0
  float add = 0;
};

// The chain of runtime/sampler.h, which is its specification, for one row of logits.
struct TokenChoice {
  float temperature = 0;  // 0: the largest logit; no other stage but the changes then
  int32_t top_k = 0;      // 0: off
  float top_p = 1;        // 1: off
  float min_p = 0;        // 0: off
  uint64_t draw = 0;      // u * 2^53
  std::span<const LogitChange> changes;  // in ascending order of ids; of an id in their order
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const noexcept = 0;  // "avx512", "reference"
  virtual std::string describe() const = 0;            // one line for people
  virtual int threads() const noexcept { return 1; }

  // Bytes that may still be allocated.
  virtual uint64_t available_memory() const;
  // ---- memory. Throws Error(kOutOfMemory).
  virtual Buffer allocate(size_t bytes) = 0;  // aligned to 64 bytes, contents undefined
  virtual void release(void* data, size_t bytes) noexcept = 0;
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(void* to, const void* from, size_t bytes) = 0;
  virtual void synchronise() = 0;
  // The bytes behind `matrix` must outlive the weight on backends that do not copy.
  virtual std::shared_ptr<const Weight> load(const codec::Matrix& matrix) = 0;
  // Bytes of the backend's own memory that load() takes; 0 where it only looks at the matrix.
  virtual uint64_t weight_bytes(const codec::Matrix&) const { return 0; }

  // ---- a step. begin_step() fixes the batch that the operations up to the next begin_step() refer
  // to; its arrays may be gone afterwards.
  virtual void begin_step(const StepBatch& batch) = 0;

  // x[t, :] = row ids[t] of the embedding. x: [tokens, hidden]
  virtual void embed(float* x, const Weight& embedding) = 0;
  // y[i, :] = x[i, :] / sqrt(mean(x[i, :]^2) + epsilon) * weight. y may be x.
  virtual void rms_norm(float* y, const float* x, const float* weight, float epsilon, int64_t rows,
                        int64_t cols) = 0;
  // x: [rows, linear.cols]
  virtual const Prepared& prepare(const float* x, int64_t rows, const Linear& linear) = 0;
  // y[i, r] (+)= sum over c of w[r, c] * x[i, c] + bias[r]. y: [rows, linear.rows]
  virtual void matmul(float* y, const Linear& linear, const Prepared& x, int64_t rows,
                      Store store) = 0;
  // In place on qkv [tokens, qkv_width]: the norms of q and k heads where given (else nullptr),
  // then the rotary turn of q and k heads.
  virtual void rope(float* qkv, const AttentionShape& shape, const float* q_norm,
                    const float* k_norm, float epsilon) = 0;
  // Writes the step's keys and values into the cache, then attends, causal over the cache.
  // qkv: [tokens, qkv_width], out: [tokens, q_width]
  virtual void attention(float* out, const float* qkv, const AttentionShape& shape,
                         const KvLayer& cache) = 0;
  // y[i, j] = silu(gate_up[i, j]) * gate_up[i, n + j]. y: [rows, n], gate_up: [rows, 2 n]
  virtual void swiglu(float* y, const float* gate_up, int64_t rows, int64_t n) = 0;

  // ---- two operations in one, for backends that do them in one kernel; else one after the other.
  // normed, gated: room for [rows, linear.cols] floats, contents undefined afterwards.
  virtual const Prepared& prepare_normed(float* normed, const float* x, const float* weight,
                                         float epsilon, int64_t rows, const Linear& linear) {
    rms_norm(normed, x, weight, epsilon, rows, linear.cols);
    return prepare(normed, rows, linear);
  }
  virtual const Prepared& prepare_gated(float* gated, const float* gate_up, int64_t rows,
                                        const Linear& linear) {
    swiglu(gated, gate_up, rows, linear.cols);
    return prepare(gated, rows, linear);
  }
  virtual void rope_attention(float* out, float* qkv, const AttentionShape& shape,
                              const float* q_norm, const float* k_norm, float epsilon,
                              const KvLayer& cache) {
    rope(qkv, shape, q_norm, k_norm, epsilon);
    attention(out, qkv, shape, cache);
  }

  // y[i, :] = x[indices[i], :]
  virtual void gather_rows(float* y, const float* x, std::span<const int32_t> indices,
                           int64_t cols) = 0;

  // ids[i] = the largest of logits[i, :], of equal ones the lowest; waits for it.
  // logits: [ids.size(), vocabulary]
  virtual void best_ids(std::span<int32_t> ids, const float* logits, int64_t vocabulary);

  // ids[i] = what choices[i] takes from logits[i, :], -1 where that is left to the caller (nothing
  // can be chosen, or too many logits are alike); the logits stay as they were. Waits for it. False
  // when the backend does not offer it. logits: [ids.size(), vocabulary]
  virtual bool choose_ids(std::span<int32_t> ids, float* logits, int64_t vocabulary,
                          std::span<const TokenChoice> choices);

  // Calls take(i) once for every i in [0, rows), on several threads at once, and waits for them:
  // what is left to do with rows of `logits` that the host can read where they are. False where it
  // cannot.
  virtual bool for_rows_in_place(int64_t rows, const std::function<void(int64_t row)>& take);

  // ---- fused steps, where the backend offers them; else the model calls the single operations
  // (model/forward.cc), which say the same.

  // How many of the layers, which follow one another, it has done: from the first one on; 0 where
  // it does not know that one.
  virtual size_t layers_step(std::span<const LayerStep>) { return 0; }
  virtual bool token_step(const TokenStep&) { return false; }

  // Kernels started so far, where that means something: for benchmarks.
  virtual uint64_t launches() const noexcept { return 0; }
};

// ---- choosing
// ------------------------------------------------------------------------------------

enum class Activations : uint8_t { kInt8, kF32 };  // kF32: the oracle for what quantising costs

// What a GPU does in one launch: an operation, a layer, a whole token (at batch 1, where it can).
enum class Fusion : uint8_t { kNone, kLayer, kToken };

struct BackendOptions {
  std::string device = "auto";  // auto, cpu, reference, cuda, cuda:N
  std::string cpu = "";         // instruction set by name; empty: UPG_CPU, else the best there is
  int threads = 0;              // 0: base::default_threads()
  Activations activations = Activations::kInt8;
  Fusion fusion = Fusion::kToken;  // GPUs only
  // cuda: unquantised weights meet many inputs in cuBLAS, inputs rounded to 11 bits; for those who
  // run a whole text through them.
  bool library_products = false;
};

// A row of the table in registry.cc.
struct BackendRow {
  std::string_view name;
  std::string_view device;       // the --device it answers to
  std::string_view needs;        // for people: "AVX-512 F, BW, VNNI"
  bool (*supported)() noexcept;  // on this machine
  std::unique_ptr<Backend> (*create)(const BackendOptions& options);
};

std::span<const BackendRow> all_backends();  // fastest first, reference last

// Throws Error: kUsage for a name that does not exist, kDevice for one this machine lacks.
std::unique_ptr<Backend> create_backend(const BackendOptions& options);
// The row create_backend would take.
const BackendRow& select_backend(const BackendOptions& options);

}  // namespace upg::kernels
