#include "kernels/prepared_input.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/checked.h"
#include "kernels/input_tiles.h"

namespace upg::kernels {
namespace {

using codec::kBlockColumns;

// Columns worked on at once: rotation and quantising stay within blocks, so that even a single
// vector divides among threads, and a part fits on the stack.
constexpr int64_t kPartColumns = int64_t{16} * kBlockColumns;
constexpr int64_t kSerialParts = 8;

}  // namespace

void PreparedInput::fill(const CpuOps& ops, base::ThreadTeam& team, const float* x, int64_t rows,
                         int64_t cols, const std::vector<InputForm>& forms) {
  rows_ = rows;
  cols_ = cols;
  padded_ = codec::padded_cols(cols);
  tile_inputs_ = inputs_of_a_tile(ops, rows);
  begin(forms, x);
  const auto end = slots_.begin() + static_cast<std::ptrdiff_t>(used_);
  if (std::all_of(slots_.begin(), end, [&](const Slot& slot) { return slot.floats == x; })) return;
  const int64_t parts = base::ceil_div(padded_, kPartColumns);
  team.for_ranges(rows * parts, kSerialParts, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) {
      for (size_t slot = 0; slot < used_; ++slot) {
        if (slots_[slot].floats == x) continue;
        fill_part(ops, slots_[slot], x, i / parts, i % parts * kPartColumns);
      }
    }
  });
  for (size_t slot = 0; tile_inputs_ > 0 && slot < used_; ++slot) {
    if (slots_[slot].form.quantised) fill_tiles(team, slots_[slot]);
  }
}

void PreparedInput::fill_tiles(base::ThreadTeam& team, Slot& slot) const {
  const int64_t parts = base::ceil_div(padded_, kPartColumns);
  const int64_t tiles = input_tile_count(rows_, tile_inputs_);
  team.for_ranges(tiles * parts, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t column = i % parts * kPartColumns;
      fill_input_tile(slot.q.data(), padded_, input_tile_range(rows_, tile_inputs_, i / parts),
                      column, std::min(column + kPartColumns, padded_), slot.tiled.data());
    }
  });
}

// As it is: nothing to rotate or to round, nothing to pad, aligned.
bool PreparedInput::is_ready(const InputForm& form, const float* x) const noexcept {
  return form == InputForm{} && padded_ == cols_ &&
         reinterpret_cast<uintptr_t>(x) % kAlignment == 0;
}

void PreparedInput::begin(const std::vector<InputForm>& forms, const float* x) {
  used_ = 0;
  for (const InputForm& form : forms) {
    const auto end = slots_.begin() + static_cast<std::ptrdiff_t>(used_);
    if (std::any_of(slots_.begin(), end, [&](const Slot& slot) { return slot.form == form; })) {
      continue;
    }
    if (used_ == slots_.size()) slots_.emplace_back();
    Slot& slot = slots_[used_++];
    slot.form = form;
    slot.floats = nullptr;
    if (is_ready(form, x)) {
      slot.floats = x;
      continue;
    }
    if (!form.quantised) {
      slot.x.reserve(rows_ * padded_);
      slot.floats = slot.x.data();
      continue;
    }
    slot.q.reserve(rows_ * padded_);
    if (tile_inputs_ > 0) slot.tiled.reserve(rows_ * padded_);
    slot.scale.reserve(rows_ * padded_ / kBlockColumns);
    slot.start.reserve(4 * rows_ * padded_ / kBlockColumns);
  }
}

void PreparedInput::fill_part(const CpuOps& ops, Slot& slot, const float* x, int64_t row,
                              int64_t column) const {
  alignas(kAlignment) float local[kPartColumns];
  const int64_t count = std::min(kPartColumns, padded_ - column);
  const int64_t there = std::min(count, cols_ - column);
  const int64_t offset = row * padded_ + column;
  float* part = slot.form.quantised ? local : slot.x.data() + offset;
  std::memcpy(part, x + row * cols_ + column, sizeof(float) * static_cast<size_t>(there));
  std::fill(part + there, part + count, 0.0f);
  if (slot.form.signs != nullptr) ops.rotate(part, count, slot.form.signs + column / 8);
  if (!slot.form.quantised) return;
  ops.quantise(part, count, slot.q.data() + offset, slot.scale.data() + offset / kBlockColumns,
               slot.start.data() + 4 * offset / kBlockColumns);
}

const PreparedInput::Slot& PreparedInput::slot_of(const InputForm& form) const noexcept {
  size_t slot = 0;
  while (slot < used_ && slots_[slot].form != form) ++slot;
  UPG_CHECK(slot < used_);
  return slots_[slot];
}

QuantisedInput PreparedInput::quantised(const InputForm& form) const noexcept {
  const Slot& slot = slot_of(form);
  return {slot.q.data(), slot.scale.data(), slot.start.data(),
          rows_,         padded_,           tile_inputs_ > 0 ? slot.tiled.data() : nullptr};
}

FloatInput PreparedInput::floats(const InputForm& form) const noexcept {
  // A rotation fills the padding.
  return {slot_of(form).floats, rows_, form.signs != nullptr ? padded_ : cols_, padded_};
}

}  // namespace upg::kernels
