// A backend that passes every operation on to another one and keeps the time it took.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "kernels/backend.h"

namespace upg::bench {

class ProfiledBackend final : public kernels::Backend {
 public:
  explicit ProfiledBackend(kernels::Backend& inner) : inner_(inner) {}

  // Seconds by operation since the last clear().
  const std::map<std::string, double>& seconds() const noexcept { return seconds_; }
  void clear() { seconds_.clear(); }

  std::string_view name() const noexcept override { return inner_.name(); }
  std::string describe() const override { return inner_.describe(); }
  int threads() const noexcept override { return inner_.threads(); }

  kernels::Buffer allocate(size_t bytes) override { return inner_.allocate(bytes); }
  void release(void* data, size_t bytes) noexcept override { inner_.release(data, bytes); }
  void upload(void* to, const void* from, size_t bytes) override { inner_.upload(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override {
    time("download", [&] { inner_.download(to, from, bytes); });
  }
  void synchronise() override { inner_.synchronise(); }
  std::shared_ptr<const kernels::Weight> load(const codec::Matrix& matrix) override {
    return inner_.load(matrix);
  }

  void begin_step(const kernels::StepBatch& batch) override {
    time("begin step", [&] { inner_.begin_step(batch); });
  }
  void embed(float* x, const kernels::Weight& embedding) override {
    time("embed", [&] { inner_.embed(x, embedding); });
  }
  void rms_norm(float* y, const float* x, const float* weight, float epsilon, int64_t rows,
                int64_t cols) override {
    time("norm", [&] { inner_.rms_norm(y, x, weight, epsilon, rows, cols); });
  }
  const kernels::Prepared& prepare(const float* x, int64_t rows,
                                   const kernels::Linear& linear) override {
    const kernels::Prepared* prepared = nullptr;
    time("rotate and quantise", [&] { prepared = &inner_.prepare(x, rows, linear); });
    return *prepared;
  }
  void matmul(float* y, const kernels::Linear& linear, const kernels::Prepared& x, int64_t rows,
              kernels::Store store) override {
    time("products", [&] { inner_.matmul(y, linear, x, rows, store); });
  }
  void rope(float* qkv, const kernels::AttentionShape& shape, const float* q_norm,
            const float* k_norm, float epsilon) override {
    time("rope", [&] { inner_.rope(qkv, shape, q_norm, k_norm, epsilon); });
  }
  void attention(float* out, const float* qkv, const kernels::AttentionShape& shape,
                 const kernels::KvLayer& cache) override {
    time("attention", [&] { inner_.attention(out, qkv, shape, cache); });
  }
  void swiglu(float* y, const float* gate_up, int64_t rows, int64_t n) override {
    time("swiglu", [&] { inner_.swiglu(y, gate_up, rows, n); });
  }
  void gather_rows(float* y, const float* x, std::span<const int32_t> indices,
                   int64_t cols) override {
    time("gather rows", [&] { inner_.gather_rows(y, x, indices, cols); });
  }

  // Of what the model does not do itself.
  template <class Body>
  void time(std::string_view operation, const Body& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    inner_.synchronise();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    seconds_[std::string(operation)] += took.count();
  }

 private:
  kernels::Backend& inner_;
  std::map<std::string, double> seconds_;
};

}  // namespace upg::bench
