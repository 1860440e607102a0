// Input vectors in the forms that the matrices of one Linear take: each form (signs; quantised or
// float) is made once however many matrices share it. Columns are padded with zeros to blocks.
#pragma once

#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "kernels/backend.h"
#include "kernels/cpu_ops.h"
#include "kernels/scratch.h"

namespace upg::kernels {

// What one matrix wants its input to be.
struct InputForm {
  const uint8_t* signs = nullptr;  // rotated with these, or not at all
  bool quantised = false;
  bool operator==(const InputForm&) const = default;
};

class PreparedInput final : public Prepared {
 public:
  // x: [rows, cols]; forms may repeat. A form that x already has refers to it.
  void fill(const CpuOps& ops, base::ThreadTeam& team, const float* x, int64_t rows, int64_t cols,
            const std::vector<InputForm>& forms);

  // Of a form that fill() was given.
  QuantisedInput quantised(const InputForm& form) const noexcept;
  FloatInput floats(const InputForm& form) const noexcept;

 private:
  struct Slot {
    InputForm form;
    const float* floats = nullptr;  // [rows, padded], of float forms: the input or x
    Scratch<float> x;
    Scratch<int8_t> q;
    Scratch<float> scale;
    Scratch<int32_t> start;
    Scratch<int8_t> tiled;
  };

  void begin(const std::vector<InputForm>& forms, const float* x);
  bool is_ready(const InputForm& form, const float* x) const noexcept;
  void fill_part(const CpuOps& ops, Slot& slot, const float* x, int64_t row, int64_t column) const;
  void fill_tiles(base::ThreadTeam& team, Slot& slot) const;
  const Slot& slot_of(const InputForm& form) const noexcept;

  std::vector<Slot> slots_;  // kept for their memory; the first used_ count
  size_t used_ = 0;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  int64_t padded_ = 0;
  int64_t tile_inputs_ = 0;  // of the quantised slots; 0: no tiles
};

}  // namespace upg::kernels
