// The CUDA row of the table: the text through the layers by the CUDA backend, moments by cuBLAS.
#include <algorithm>
#include <utility>

#include "codec/matrix.h"
#include "compress/cuda/device_problem.h"
#include "kernels/cuda/cuda_backend.h"

namespace upg::compression::cuda {

using kernels::cuda::check;
using kernels::cuda::Flipped;
using kernels::cuda::Precision;

Gpu::Gpu(int number) : device(number) {
  check(cudaSetDevice(device), "choosing the device");
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  blas.emplace(stream);
}

Gpu::~Gpu() {
  cudaSetDevice(device);
  cudaStreamSynchronize(stream);
  blas.reset();
  cudaStreamDestroy(stream);
}

void Gpu::check_launches(std::string_view what) const { check(cudaGetLastError(), what); }

void Gpu::wait(std::string_view what) const {
  check(cudaGetLastError(), what);
  check(cudaStreamSynchronize(stream), what);
}

void Gpu::download(void* to, const void* from, size_t bytes) const {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "download");
  wait("the device's work");
}

// From pageable memory: the call returns when the bytes are taken.
void Gpu::upload(void* to, const void* from, size_t bytes) const {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "upload");
}

namespace {

size_t floats(int64_t count) { return sizeof(float) * static_cast<size_t>(count); }

DeviceArray zeros(int64_t count, cudaStream_t stream) {
  DeviceArray array(floats(count));
  check(cudaMemsetAsync(array.as<void>(), 0, array.bytes(), stream), "moments");
  return array;
}

class DeviceSums final : public Sums {
 public:
  DeviceSums(Gpu& gpu, int64_t cols, int64_t residual_rows)
      : gpu_(gpu),
        cols_(cols),
        residual_rows_(residual_rows),
        gram_(zeros(cols * cols, gpu.stream)),
        drift_(zeros(cols * cols, gpu.stream)),
        residual_(zeros(residual_rows * cols, gpu.stream)) {}

  void add(const float* compressed, const float* original, int64_t tokens) override {
    float* difference = difference_.reserve<float>(tokens * std::max(cols_, residual_rows_));
    subtract(original, compressed, tokens * cols_, difference, gpu_.stream);
    accumulate(compressed, cols_, tokens, compressed, gram_.as<float>());
    accumulate(difference, cols_, tokens, compressed, drift_.as<float>());
    gpu_.wait("moments");
  }

  void add_residual(const float* compressed_stream, const float* original_stream,
                    const float* compressed, int64_t tokens) override {
    float* difference = difference_.reserve<float>(tokens * residual_rows_);
    subtract(original_stream, compressed_stream, tokens * residual_rows_, difference, gpu_.stream);
    accumulate(difference, residual_rows_, tokens, compressed, residual_.as<float>());
    gpu_.wait("moments");
  }

  std::unique_ptr<Problem> problem(const uint8_t* signs, double damping, std::string_view tensor,
                                   bool keep) override {
    difference_ = DeviceArray();
    DeviceMoments moments;
    moments.cols = codec::padded_cols(cols_);
    moments.residual_rows = residual_rows_;
    DeviceArray signs_there;
    if (signs != nullptr) {
      signs_there = DeviceArray(static_cast<size_t>(moments.cols / 8));
      gpu_.upload(signs_there.as<void>(), signs, signs_there.bytes());
    }
    const auto* by = signs == nullptr ? nullptr : signs_there.as<uint8_t>();
    moments.gram = turned(gram_, moments.cols, by, keep);
    moments.drift = turned(drift_, moments.cols, by, keep);
    if (residual_rows_ > 0) {
      moments.residual = padded(residual_, residual_rows_, residual_rows_, moments.cols);
      if (by != nullptr) {
        rotate_rows(moments.residual.as<float>(), residual_rows_, moments.cols, by, gpu_.stream);
      }
      if (!keep) residual_ = DeviceArray();
    }
    gpu_.wait("moments in the basis of the codes");
    return std::make_unique<DeviceProblem>(gpu_, std::move(moments), damping, tensor);
  }

 private:
  // sums [rows, cols] += a^T x; a: [tokens, rows]
  void accumulate(const float* a, int64_t rows, int64_t tokens, const float* x, float* sums) {
    gpu_.blas->multiply(rows, cols_, tokens, {a, rows, Flipped::kYes}, {x, cols_}, 1, sums, cols_,
                        Precision::kTensor);
  }
  DeviceArray padded(const DeviceArray& from, int64_t rows, int64_t out_rows, int64_t cols) {
    DeviceArray out(floats(out_rows * cols));
    pad_rows(from.as<float>(), rows, cols_, out_rows, cols, out.as<float>(), gpu_.stream);
    return out;
  }
  // [cols, cols] padded and, with signs, turned on both sides.
  DeviceArray turned(DeviceArray& from, int64_t cols, const uint8_t* signs, bool keep) {
    DeviceArray out = padded(from, cols_, cols, cols);
    gpu_.wait("moments");
    if (!keep) from = DeviceArray();
    if (signs == nullptr) return out;
    DeviceArray other(out.bytes());
    for (int side = 0; side < 2; ++side) {
      rotate_rows(out.as<float>(), cols, cols, signs, gpu_.stream);
      transpose(out.as<float>(), cols, other.as<float>(), gpu_.stream);
      std::swap(out, other);
    }
    gpu_.wait("moments");  // before `other` goes
    return out;
  }

  Gpu& gpu_;
  int64_t cols_;
  int64_t residual_rows_;
  DeviceArray gram_, drift_, residual_;
  DeviceArray difference_;
};

class CudaDevice final : public CalibrationDevice {
 public:
  CudaDevice(const std::string& device, base::ThreadTeam& team)
      : backend_(options(device)), gpu_(backend_.device()) {}
  kernels::Backend& backend() noexcept override { return backend_; }
  std::string algebra() const override { return "cuBLAS, cuSOLVER"; }
  std::unique_ptr<Sums> sums(int64_t cols, int64_t residual_rows) override {
    return std::make_unique<DeviceSums>(gpu_, cols, residual_rows);
  }

 private:
  static kernels::BackendOptions options(const std::string& device) {
    kernels::BackendOptions options;
    options.device = device;
    options.library_products = true;
    return options;
  }
  kernels::cuda::CudaBackend backend_;
  Gpu gpu_;
};

constexpr CalibrationDeviceRow kRow = {
    "cuda",
    [](const std::string& device, base::ThreadTeam& team) -> std::unique_ptr<CalibrationDevice> {
      return std::make_unique<CudaDevice>(device, team);
    }};

}  // namespace

std::span<const CalibrationDeviceRow> calibration_rows() noexcept { return {&kRow, 1}; }

}  // namespace upg::compression::cuda
