// The backend's operations that are two in one kernel, where the device and the matrices allow it.
#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/cuda_backend.h"

namespace upg::kernels::cuda {
namespace {

const MatrixView& view_of(const Linear::Part& part) {
  return static_cast<const DeviceWeight&>(*part.weight).view();
}
const uint8_t* signs_of(const Linear::Part& part) {
  return static_cast<const DeviceWeight&>(*part.weight).signs();
}

}  // namespace

bool CudaBackend::fuses_input(int64_t rows, const Linear& linear) const {
  if (fusion_ == Fusion::kNone || !has_wgmma() || rows < 2 || linear.cols % 4 != 0) return false;
  const uint8_t* signs = signs_of(linear.parts.front());
  return std::all_of(linear.parts.begin(), linear.parts.end(), [&](const Linear::Part& part) {
    return takes_integers(view_of(part).kind) && signs_of(part) == signs;
  });
}

TileForm CudaBackend::begin_tiles(int64_t rows, const Linear& linear) {
  input_.used_ = 0;
  input_.rows_ = rows;
  input_.blocks_ = codec::blocks_of(linear.cols);
  input_.tiled_rows_ = tiled_rows_of(rows);
  const DeviceInput::Form form = {signs_of(linear.parts.front()), true};
  const DeviceInput::Slot& slot = slot_for(form);
  return {form.signs, slot.q.as<int8_t>(), slot.scale.as<uint32_t>(), input_.tiled_rows_};
}

const Prepared& CudaBackend::prepare_normed(float* normed, const float* x, const float* weight,
                                            float epsilon, int64_t rows, const Linear& linear) {
  if (!fuses_input(rows, linear)) {
    return Backend::prepare_normed(normed, x, weight, epsilon, rows, linear);
  }
  const TileForm form = begin_tiles(rows, linear);
  norm_to_tiles(x, weight, epsilon, rows, linear.cols, form, stream_.get());
  launched("norm and inputs of a product");
  return input_;
}

const Prepared& CudaBackend::prepare_gated(float* gated, const float* gate_up, int64_t rows,
                                           const Linear& linear) {
  if (!fuses_input(rows, linear)) return Backend::prepare_gated(gated, gate_up, rows, linear);
  const TileForm form = begin_tiles(rows, linear);
  gated_to_tiles(gate_up, rows, linear.cols, form, stream_.get());
  launched("swiglu and inputs of a product");
  return input_;
}

void CudaBackend::rope_attention(float* out, float* qkv, const AttentionShape& shape,
                                 const float* q_norm, const float* k_norm, float epsilon,
                                 const KvLayer& cache) {
  if (fusion_ == Fusion::kNone || !has_wgmma()) {
    return Backend::rope_attention(out, qkv, shape, q_norm, k_norm, epsilon, cache);
  }
  check_heads(shape);
  const StepView& step = step_.device();
  UPG_CHECK(shape.rotary_dims == 0 || shape.rotary_dims == step.rotary_dims);
  rope_and_store(qkv, shape, q_norm, k_norm, epsilon, cache, step, stream_.get());
  launched("rotary turn and cache");
  attend_stored(out, qkv, shape, cache);
}

}  // namespace upg::kernels::cuda
