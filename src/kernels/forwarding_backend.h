// A backend that passes every operation on to another one: what tests and benchmarks that change or
// watch a few operations derive from. Fused steps and choices are not offered.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "kernels/backend.h"

namespace upg::kernels {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string_view name() const noexcept override { return inner_->name(); }
  std::string describe() const override { return inner_->describe(); }
  int threads() const noexcept override { return inner_->threads(); }
  uint64_t available_memory() const override { return inner_->available_memory(); }

  Buffer allocate(size_t bytes) override { return inner_->allocate(bytes); }
  void release(void* data, size_t bytes) noexcept override { inner_->release(data, bytes); }
  void upload(void* to, const void* from, size_t bytes) override {
    inner_->upload(to, from, bytes);
  }
  void download(void* to, const void* from, size_t bytes) override {
    inner_->download(to, from, bytes);
  }
  void synchronise() override { inner_->synchronise(); }
  std::shared_ptr<const Weight> load(const codec::Matrix& matrix) override {
    return inner_->load(matrix);
  }
  uint64_t weight_bytes(const codec::Matrix& matrix) const override {
    return inner_->weight_bytes(matrix);
  }

  void begin_step(const StepBatch& batch) override { inner_->begin_step(batch); }
  void embed(float* x, const Weight& embedding) override { inner_->embed(x, embedding); }
  void rms_norm(float* y, const float* x, const float* weight, float epsilon, int64_t rows,
                int64_t cols) override {
    inner_->rms_norm(y, x, weight, epsilon, rows, cols);
  }
  const Prepared& prepare(const float* x, int64_t rows, const Linear& linear) override {
    return inner_->prepare(x, rows, linear);
  }
  void matmul(float* y, const Linear& linear, const Prepared& x, int64_t rows,
              Store store) override {
    inner_->matmul(y, linear, x, rows, store);
  }
  void rope(float* qkv, const AttentionShape& shape, const float* q_norm, const float* k_norm,
            float epsilon) override {
    inner_->rope(qkv, shape, q_norm, k_norm, epsilon);
  }
  void attention(float* out, const float* qkv, const AttentionShape& shape,
                 const KvLayer& cache) override {
    inner_->attention(out, qkv, shape, cache);
  }
  void swiglu(float* y, const float* gate_up, int64_t rows, int64_t n) override {
    inner_->swiglu(y, gate_up, rows, n);
  }
  void gather_rows(float* y, const float* x, std::span<const int32_t> indices,
                   int64_t cols) override {
    inner_->gather_rows(y, x, indices, cols);
  }

 protected:
  Backend& inner() noexcept { return *inner_; }

 private:
  std::unique_ptr<Backend> inner_;
};

}  // namespace upg::kernels
