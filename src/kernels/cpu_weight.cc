#include "kernels/cpu_weight.h"

#include <type_traits>
#include <variant>

namespace upg::kernels {
namespace {

// The codecs whose products are made of integers.
template <class View>
constexpr bool kTakesIntegers =
    std::is_same_v<View, codec::PathMatrix> || std::is_same_v<View, codec::Int8Matrix> ||
    std::is_same_v<View, codec::SparseMatrix>;

bool takes_integers(const codec::Matrix& matrix) {
  return std::visit([](const auto& view) { return kTakesIntegers<std::decay_t<decltype(view)>>; },
                    matrix.view);
}

// Which function of a table multiplies which kind of matrix.
auto product(const CpuOps& ops, const codec::PathMatrix&, const QuantisedInput&) {
  return ops.matmul_path;
}
auto product(const CpuOps& ops, const codec::PathMatrix&, const FloatInput&) {
  return ops.matmul_path_float;
}
auto product(const CpuOps& ops, const codec::Int8Matrix&, const QuantisedInput&) {
  return ops.matmul_int8;
}
auto product(const CpuOps& ops, const codec::Int8Matrix&, const FloatInput&) {
  return ops.matmul_int8_float;
}
auto product(const CpuOps& ops, const codec::SparseMatrix&, const QuantisedInput&) {
  return ops.matmul_sparse;
}
auto product(const CpuOps& ops, const codec::SparseMatrix&, const FloatInput&) {
  return ops.matmul_sparse_float;
}
auto product(const CpuOps& ops, const codec::MdcsrMatrix&, const FloatInput&) {
  return ops.matmul_mdcsr;
}
auto product(const CpuOps& ops, const codec::RawMatrix&, const FloatInput&) {
  return ops.matmul_raw;
}

}  // namespace

CpuWeight::CpuWeight(const codec::Matrix& matrix, Activations activations)
    : Weight(matrix.rows, matrix.cols), matrix_(matrix) {
  form_.signs = matrix.signs;
  form_.quantised = activations == Activations::kInt8 && takes_integers(matrix);
}

void CpuWeight::multiply(const CpuOps& ops, RowRange range, const PreparedInput& x,
                         const Output& out) const noexcept {
  std::visit(
      [&](const auto& view) {
        if constexpr (kTakesIntegers<std::decay_t<decltype(view)>>) {
          if (form_.quantised) {
            const QuantisedInput input = x.quantised(form_);
            product(ops, view, input)(view, cols(), range, input, out);
            return;
          }
        }
        const FloatInput input = x.floats(form_);
        product(ops, view, input)(view, cols(), range, input, out);
      },
      matrix_.view);
}

}  // namespace upg::kernels
