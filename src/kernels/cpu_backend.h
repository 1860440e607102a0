// A backend on the CPU: the loops over tokens, rows and heads, divided among threads, around the
// functions of one CpuOps table. The same for every instruction set, reference included.
#pragma once

#include <string>
#include <vector>

#include "base/threads.h"
#include "kernels/backend.h"
#include "kernels/cpu_ops.h"
#include "kernels/prepared_input.h"
#include "kernels/scratch.h"
#include "kernels/step_state.h"

namespace upg::kernels {

class CpuBackend final : public Backend {
 public:
  // Throws Error(kUnsupported) where the table lacks what options.activations needs, and
  // Error(kUsage) for an impossible number of threads. `ops` must outlive the backend.
  CpuBackend(const CpuOps& ops, const BackendOptions& options);
  CpuBackend(const CpuOps& ops, const BackendOptions& options, base::Topology topology);

  std::string_view name() const noexcept override { return ops_.name; }
  std::string describe() const override;
  int threads() const noexcept override { return team_.size(); }

  Buffer allocate(size_t bytes) override;
  void release(void* data, size_t bytes) noexcept override;
  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes) override;
  void synchronise() override {}
  std::shared_ptr<const Weight> load(const codec::Matrix& matrix) override;

  void begin_step(const StepBatch& batch) override;
  void embed(float* x, const Weight& embedding) override;
  void rms_norm(float* y, const float* x, const float* weight, float epsilon, int64_t rows,
                int64_t cols) override;
  const Prepared& prepare(const float* x, int64_t rows, const Linear& linear) override;
  void matmul(float* y, const Linear& linear, const Prepared& x, int64_t rows,
              Store store) override;
  void rope(float* qkv, const AttentionShape& shape, const float* q_norm, const float* k_norm,
            float epsilon) override;
  void attention(float* out, const float* qkv, const AttentionShape& shape,
                 const KvLayer& cache) override;
  void swiglu(float* y, const float* gate_up, int64_t rows, int64_t n) override;
  void gather_rows(float* y, const float* x, std::span<const int32_t> indices,
                   int64_t cols) override;
  bool for_rows_in_place(int64_t rows, const std::function<void(int64_t row)>& take) override;

 private:
  // Rows [begin, end) of all parts, in units of kRowPadding.
  void multiply_blocks(float* y, const Linear& linear, const PreparedInput& x, int64_t inputs,
                       Store store, int64_t begin, int64_t end) const;
  // Some rows of one part of a Linear, for `inputs` vectors.
  void multiply_part(const Linear::Part& part, RowRange range, const PreparedInput& x,
                     int64_t inputs, const Output& out) const;
  void store_keys_and_values(const float* qkv, const AttentionShape& shape, const KvLayer& cache);
  void make_tasks(float* out, const float* qkv, const AttentionShape& shape, const KvLayer& cache);
  void add_task(const AttentionTask& task, const AttentionShape& shape);
  void give_parts_their_place(const AttentionShape& shape);
  void merge_parts(const AttentionShape& shape);

  const CpuOps& ops_;
  Activations activations_;
  base::Topology topology_;
  base::ThreadTeam team_;
  StepState step_;
  PreparedInput prepared_;
  std::vector<InputForm> forms_;
  // Of the attention at hand. A single token that sees many pages is divided into parts, whose
  // unfinished outputs are merged.
  struct Merge {
    float* out;         // [group, head_dim]
    size_t first_task;  // of the parts
    size_t parts;
  };
  std::vector<AttentionTask> tasks_;
  std::vector<Merge> merges_;
  int64_t work_ = 0;  // about so many products in the tasks
  Scratch<float> parts_;
  Scratch<float> attention_scratch_;
};

}  // namespace upg::kernels
