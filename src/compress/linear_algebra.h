// The few dense products and factorisations calibration needs, from OpenBLAS (BLAS and LAPACK).
//
// All matrices are row-major float32. Each throws Error(kDevice) where there is no OpenBLAS.
// Nothing here starts threads: callers split the work, so that results do not depend on how many
// threads there are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace upg::compression {

enum class Transposed : bool { kNo, kYes };

// c [m, n] = a [m, k] b [k, n] + beta c. Leading dimensions in elements. a as stored [k, m] when
// transposed.
void multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride, const float* b,
              int64_t b_stride, float beta, float* c, int64_t c_stride,
              Transposed a_is = Transposed::kNo);

// x [m, n] = x v^-1 or x v^-T in place, v [n, n] upper triangular with ones on the diagonal (which
// is not read).
void solve_unit_upper(int64_t m, int64_t n, const float* v, float* x, Transposed v_is);

// h = v diag(d) v^T with v unit upper triangular: the factor error feedback reads (LDLQ, Chee et
// al. 2023). h [n, n] symmetric; overwritten with v, ones and zeros included. Returns d, or an
// empty vector when h is not positive definite (h is then lost). Up to 8,192 columns it runs in
// double, in a copy; above in place.
std::vector<float> factorise(int64_t n, float* h);

// Which BLAS this is and which of its kernels it uses here: another one rounds differently.
std::string blas_name();

// From now on BLAS calls of this process run on the thread that makes them.
void use_one_blas_thread();

}  // namespace upg::compression
