// cuSPARSE beside upg: compressed sparse rows, half of them zeros, f16 values with 32-bit columns,
// times one vector; from the library if it is there.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "base/float16.h"
#include "base/shared_library.h"
#include "cuda_device.h"
#include "tools/random_model.h"
#include "upg/error.h"

namespace upg::bench {
namespace {

using kernels::cuda::check;
using kernels::cuda::check_library;
using kernels::cuda::DeviceArray;

// Of cusparse.h and library_types.h.
constexpr int kPlain = 0, kIndex32 = 2, kBaseZero = 0, kF16 = 2, kF32 = 0, kDefaultAlgorithm = 0;

struct Cusparse {
  base::SharedLibrary library{"libcusparse.so.13", "libcusparse.so.12", "libcusparse.so"};
  int (*create)(void**) = nullptr;
  int (*destroy)(void*) = nullptr;
  int (*set_stream)(void*, cudaStream_t) = nullptr;
  int (*create_csr)(void**, int64_t, int64_t, int64_t, void*, void*, void*, int, int, int,
                    int) = nullptr;
  int (*create_vector)(void**, int64_t, void*, int) = nullptr;
  int (*destroy_csr)(void*) = nullptr;
  int (*destroy_vector)(void*) = nullptr;
  int (*buffer_size)(void*, int, const void*, void*, void*, const void*, void*, int, int,
                     size_t*) = nullptr;
  int (*multiply)(void*, int, const void*, void*, void*, const void*, void*, int, int,
                  void*) = nullptr;

  Cusparse() {
    if (!library.is_found()) return;
    library.find("cusparseCreate", create);
    library.find("cusparseDestroy", destroy);
    library.find("cusparseSetStream", set_stream);
    library.find("cusparseCreateCsr", create_csr);
    library.find("cusparseCreateDnVec", create_vector);
    library.find("cusparseDestroySpMat", destroy_csr);
    library.find("cusparseDestroyDnVec", destroy_vector);
    library.find("cusparseSpMV_bufferSize", buffer_size);
    library.find("cusparseSpMV", multiply);
  }
};

const Cusparse& cusparse() {
  static const Cusparse one;
  return one;
}

// What the library made, given back to it.
using Handle = std::unique_ptr<void, int (*)(void*)>;

// Where the non-zeros are: each weight is one with a chance of a half.
struct Pattern {
  std::vector<int32_t> offsets;  // [rows + 1]
  std::vector<int32_t> columns;  // [non-zeros]

  Pattern(int64_t rows, int64_t cols) : offsets{0} {
    tools::Random random{3};
    columns.reserve(static_cast<size_t>(rows * cols / 2 + rows * cols / 16));
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t first = 0; first < cols; first += 64) {
        uint64_t bits = random.next();
        if (cols - first < 64) bits &= (uint64_t{1} << (cols - first)) - 1;
        for (; bits != 0; bits &= bits - 1) {
          columns.push_back(static_cast<int32_t>(first + std::countr_zero(bits)));
        }
      }
      offsets.push_back(static_cast<int32_t>(columns.size()));
    }
  }
};

DeviceArray on_device(const std::vector<int32_t>& values) {
  DeviceArray array(4 * values.size());
  check(cudaMemcpy(array.as<void>(), values.data(), array.bytes(), cudaMemcpyHostToDevice),
        "a sparse matrix");
  return array;
}

int64_t bytes_of(int64_t rows, int64_t cols) { return rows * cols / 2 * 6 + 4 * (rows + 1); }

// One random matrix, as often in memory as it takes for no cache to hold all.
class CsrProducts {
 public:
  CsrProducts(int64_t rows, int64_t cols, int copies) : pattern_(rows, cols) {
    check_library(cusparse().create(&handle_.raw), "starting cuSPARSE");
    handle_.owned = Handle(handle_.raw, cusparse().destroy);
    check_library(cusparse().set_stream(handle_.raw, stream_.get()), "starting cuSPARSE");
    x_ = DeviceArray(static_cast<size_t>(2 * cols));
    y_ = DeviceArray(static_cast<size_t>(2 * rows));
    fill_random(x_, Half::kF16, stream_.get());
    check_library(cusparse().create_vector(&x_view_.raw, cols, x_.as<void>(), kF16), "a vector");
    x_view_.owned = Handle(x_view_.raw, cusparse().destroy_vector);
    check_library(cusparse().create_vector(&y_view_.raw, rows, y_.as<void>(), kF16), "a vector");
    y_view_.owned = Handle(y_view_.raw, cusparse().destroy_vector);
    offsets_ = on_device(pattern_.offsets);
    for (int i = 0; i < copies; ++i) add_copy(rows, cols);
    check_first();
  }

  // Seconds of `count` products.
  double time(int64_t count) {
    return stream_.time([&] {
      for (int64_t i = 0; i < count; ++i) {
        multiply(copies_[next_]);
        next_ = (next_ + 1) % copies_.size();
      }
    });
  }

 private:
  struct Object {
    void* raw = nullptr;
    Handle owned{nullptr, nullptr};
  };
  struct Copy {
    DeviceArray columns, values, buffer;
    Object view;
  };

  void add_copy(int64_t rows, int64_t cols) {
    Copy copy;
    copy.columns = on_device(pattern_.columns);
    copy.values = DeviceArray((2 * pattern_.columns.size() + 3) / 4 * 4);
    fill_random(copy.values, Half::kF16, stream_.get());
    check_library(cusparse().create_csr(
                      &copy.view.raw, rows, cols, static_cast<int64_t>(pattern_.columns.size()),
                      offsets_.as<void>(), copy.columns.as<void>(), copy.values.as<void>(),
                      kIndex32, kIndex32, kBaseZero, kF16),
                  "a sparse matrix");
    copy.view.owned = Handle(copy.view.raw, cusparse().destroy_csr);
    size_t bytes = 0;
    check_library(cusparse().buffer_size(handle_.raw, kPlain, &kOne, copy.view.raw, x_view_.raw,
                                         &kZero, y_view_.raw, kF32, kDefaultAlgorithm, &bytes),
                  "a product by cuSPARSE");
    copy.buffer = DeviceArray(std::max<size_t>(bytes, 4));
    copies_.push_back(std::move(copy));
  }

  void multiply(const Copy& copy) const {
    check_library(
        cusparse().multiply(handle_.raw, kPlain, &kOne, copy.view.raw, x_view_.raw, &kZero,
                            y_view_.raw, kF32, kDefaultAlgorithm, copy.buffer.as<void>()),
        "a product by cuSPARSE");
  }

  void check_first() const {
    multiply(copies_[0]);
    const auto count = static_cast<size_t>(pattern_.offsets[1]);
    std::vector<uint16_t> w(count), x(x_.bytes() / 2);
    uint16_t y = 0;
    stream_.wait();
    check(cudaMemcpy(w.data(), copies_[0].values.as<void>(), 2 * w.size(), cudaMemcpyDeviceToHost),
          "a row");
    check(cudaMemcpy(x.data(), x_.as<void>(), x_.bytes(), cudaMemcpyDeviceToHost), "a vector");
    check(cudaMemcpy(&y, y_.as<void>(), 2, cudaMemcpyDeviceToHost), "a result");
    float want = 0;
    for (size_t i = 0; i < count; ++i) {
      want += base::f16_to_float(w[i]) *
              base::f16_to_float(x[static_cast<size_t>(pattern_.columns[i])]);
    }
    const float found = base::f16_to_float(y);
    if (!(std::abs(found - want) <= 0.01f * std::abs(want) + 0.1f)) {
      throw Error(ErrorCode::kDevice, fmt::format("cuSPARSE: found {}, expected {}", found, want));
    }
  }

  static constexpr float kOne = 1;
  static constexpr float kZero = 0;

  Pattern pattern_;
  DeviceStream stream_;
  DeviceArray x_, y_, offsets_;
  Object handle_, x_view_, y_view_;
  std::vector<Copy> copies_;
  size_t next_ = 0;
};

// The matrix that was asked for last; dropped by forget().
CsrProducts& kept_products(int64_t rows, int64_t cols, int copies) {
  static std::unique_ptr<CsrProducts> kept;
  static std::pair<int64_t, int64_t> shape;
  [[maybe_unused]] static const bool registered = [] {
    on_forget([] { kept.reset(); });
    return true;
  }();
  if (!kept || shape != std::pair(rows, cols)) {
    kept.reset();
    kept = std::make_unique<CsrProducts>(rows, cols, copies);
    shape = {rows, cols};
  }
  return *kept;
}

void add_shape(const Options& options, int64_t rows, int64_t cols, Suite& suite) {
  const std::string shape = std::to_string(rows) + "x" + std::to_string(cols);
  const int64_t bytes = bytes_of(rows, cols);
  const int64_t copies = options.tiny ? 2 : std::max<int64_t>(2, kStreamedDeviceBytes / bytes);
  suite.push_back({.name = "product/" + shape + "/csr/cusparse/batch:1",
                   .labels = {{"codec", "csr"},
                              {"backend", "cuSPARSE"},
                              {"rows", std::to_string(rows)},
                              {"cols", std::to_string(cols)},
                              {"batch", "1"},
                              {"from", "memory"},
                              {"bytes", std::to_string(bytes)}},
                   .amount = static_cast<double>(rows * cols) / 2,
                   .unit = "weights",
                   .bounds = {{kDeviceReadLimit, static_cast<double>(bytes)}},
                   .group = "matrix/csr/" + shape,
                   .manual_time = true,
                   .body = [=](auto& state) {
                     CsrProducts& products = kept_products(rows, cols, static_cast<int>(copies));
                     time_batch(state, [&](int64_t count) { return products.time(count); });
                   }});
}

}  // namespace

void add_cusparse(const Options& options, Suite& suite) {
  if (!has_device() || !cusparse().library.is_found()) return;
  for (const auto& [rows, cols] : product_shapes(options)) add_shape(options, rows, cols, suite);
}

}  // namespace upg::bench
