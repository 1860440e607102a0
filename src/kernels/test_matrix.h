// Random matrices of every codec for the tests and the fuzz target, made bit by bit without the
// encoders: what they store is legal but not what an encoder would choose.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "codec/matrix.h"
#include "kernels/cpu_ops.h"
#include "kernels/scratch.h"

namespace upg::kernels {

using Random = std::mt19937;

std::vector<float> random_floats(Random& random, int64_t count, float scale = 1.0f);

// "path2", ..., with "-one" for a zero second palette; "raw-f32", "raw-f16", "raw-bf16".
std::span<const std::string_view> test_codecs();

class TestMatrix {
 public:
  TestMatrix(std::string_view codec, int64_t rows, int64_t cols, bool rotated, Random& random);
  TestMatrix(const TestMatrix&) = delete;
  TestMatrix& operator=(const TestMatrix&) = delete;

  const codec::Matrix& matrix() const noexcept { return matrix_; }
  // The rows as stored, padded columns included: [rows, padded_cols], or [rows, cols] for the
  // codecs that do not pad.
  std::vector<float> stored_rows() const;
  int64_t stored_cols() const noexcept;

 private:
  template <class T>
  T* bytes(int64_t count, Random& random);
  const float* scales(Random& random);
  void make_path(int bits, bool two_palettes, Random& random);
  void make_int8(Random& random);
  void make_sparse(Random& random);
  void make_mdcsr(Random& random);
  void make_raw(base::DType dtype, Random& random);

  codec::Matrix matrix_;
  std::vector<Scratch<std::byte>> storage_;  // exact sizes: a sanitizer sees what reads past them
  std::vector<uint8_t> signs_;
};

// The tables that this machine can run, reference included.
std::vector<const CpuOps*> runnable_tables();

// The rows of all_backends() that this machine can run; says on stdout which GPUs are missing.
std::vector<const BackendRow*> runnable_backends();
std::unique_ptr<Backend> make_backend(const BackendRow& row, int threads,
                                      Activations activations = Activations::kInt8);

// Vectors into a backend's memory and back.
Buffer upload(Backend& backend, std::span<const float> values);
std::vector<float> download(Backend& backend, const float* from, size_t count);

}  // namespace upg::kernels
