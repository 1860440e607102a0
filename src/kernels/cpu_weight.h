// A matrix on the CPU: a view of the bytes it was loaded from, and its product by a table of ops.
#pragma once

#include "codec/matrix.h"
#include "kernels/backend.h"
#include "kernels/cpu_ops.h"
#include "kernels/prepared_input.h"

namespace upg::kernels {

class CpuWeight final : public Weight {
 public:
  CpuWeight(const codec::Matrix& matrix, Activations activations);

  const codec::Matrix& matrix() const noexcept { return matrix_; }
  const InputForm& form() const noexcept { return form_; }

  // Rows of the product, range.begin a multiple of kRowPadding. x was filled with form() among its
  // forms.
  void multiply(const CpuOps& ops, RowRange range, const PreparedInput& x,
                const Output& out) const noexcept;

 private:
  codec::Matrix matrix_;
  InputForm form_;
};

}  // namespace upg::kernels
