#include "compress/linear_algebra.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/shared_library.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

// Of cblas.h.
constexpr int kRowMajor = 101, kPlain = 111, kTranspose = 112, kUpper = 121, kUnit = 132,
              kRight = 142;

// Loaded by the first calibration: where OpenBLAS is built with threads, it starts one a core as it
// is loaded, and these wait for work with their cores at full speed.
struct OpenBlas {
  void (*sgemm)(int, int, int, int, int, int, float, const float*, int, const float*, int, float,
                float*, int) = nullptr;
  void (*strsm)(int, int, int, int, int, int, int, float, const float*, int, float*, int) = nullptr;
  void (*dpotrf)(const char* uplo, const int* n, double* a, const int* stride, int* info) = nullptr;
  void (*spotrf)(const char* uplo, const int* n, float* a, const int* stride, int* info) = nullptr;
  char* (*config)() = nullptr;
  void (*set_threads)(int) = nullptr;

  OpenBlas() {
    const base::SharedLibrary library{"libopenblas.so.0", "libopenblas.so"};
    if (!library.is_found()) {
      throw Error(
          ErrorCode::kDevice,
          fmt::format("calibration needs OpenBLAS, and {} is not in the library path (on "
                      "Debian and Ubuntu: apt install libopenblas0); --calibrate none does without",
                      library.name()));
    }
    library.find("cblas_sgemm", sgemm);
    library.find("cblas_strsm", strsm);
    library.find("dpotrf_", dpotrf);
    library.find("spotrf_", spotrf);
    library.find("openblas_get_config", config);
    library.find("openblas_set_num_threads", set_threads);
  }
};

const OpenBlas& blas() {
  static const OpenBlas one;
  return one;
}

// Up to this size the factorisation runs in double; above, its copy alone would take gigabytes.
constexpr int64_t kMaxDouble = 8192;

// Cholesky of `a` in place, a = l l^T with l lower triangular, row-major; false when not positive.
bool cholesky(int64_t n, double* a) {
  const int size = static_cast<int>(n);
  int info = 0;
  blas().dpotrf("U", &size, a, &size, &info);  // column-major upper is row-major lower
  return info == 0;
}
bool cholesky(int64_t n, float* a) {
  const int size = static_cast<int>(n);
  int info = 0;
  blas().spotrf("U", &size, a, &size, &info);
  return info == 0;
}

// With both orders reversed the lower factor l of the reversed matrix is the upper one wanted:
// v[i][j] = l[n-1-i][n-1-j] / l[n-1-j][n-1-j], d[j] = l[n-1-j][n-1-j]^2. l becomes v, still
// reversed and with a diagonal and an upper half that mean nothing.
template <class T>
std::vector<float> scale_columns(int64_t n, T* l) {
  std::vector<float> d(static_cast<size_t>(n));
  std::vector<T> inverse(static_cast<size_t>(n));
  for (int64_t c = 0; c < n; ++c) {
    const T pivot = l[c * (n + 1)];
    inverse[static_cast<size_t>(c)] = 1 / pivot;
    d[static_cast<size_t>(n - 1 - c)] = static_cast<float>(pivot * pivot);
  }
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = 0; c < r; ++c) l[r * n + c] *= inverse[static_cast<size_t>(c)];
  }
  return d;
}

// The diagonal and the lower half that a unit upper triangular matrix has.
void complete_unit_upper(int64_t n, float* v) {
  for (int64_t i = 0; i < n; ++i) {
    std::fill_n(v + i * n, i, 0.0f);
    v[i * (n + 1)] = 1;
  }
}

}  // namespace

void multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride, const float* b,
              int64_t b_stride, float beta, float* c, int64_t c_stride, Transposed a_is) {
  blas().sgemm(kRowMajor, a_is == Transposed::kYes ? kTranspose : kPlain, kPlain,
               static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), 1.0f, a,
               static_cast<int>(a_stride), b, static_cast<int>(b_stride), beta, c,
               static_cast<int>(c_stride));
}

void solve_unit_upper(int64_t m, int64_t n, const float* v, float* x, Transposed v_is) {
  blas().strsm(kRowMajor, kRight, kUpper, v_is == Transposed::kYes ? kTranspose : kPlain, kUnit,
               static_cast<int>(m), static_cast<int>(n), 1.0f, v, static_cast<int>(n), x,
               static_cast<int>(n));
}

std::vector<float> factorise(int64_t n, float* h) {
  std::vector<float> d;
  std::reverse(h, h + n * n);
  if (n <= kMaxDouble) {
    std::vector<double> l(h, h + n * n);
    if (!cholesky(n, l.data())) return {};
    d = scale_columns(n, l.data());
    std::transform(l.begin(), l.end(), h, [](double x) { return static_cast<float>(x); });
  } else {
    if (!cholesky(n, h)) return {};
    d = scale_columns(n, h);
  }
  std::reverse(h, h + n * n);
  complete_unit_upper(n, h);
  return d;
}

std::string blas_name() { return blas().config(); }

void use_one_blas_thread() { blas().set_threads(1); }

}  // namespace upg::compression
