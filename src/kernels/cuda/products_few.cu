// Products of the integer codecs for 2 to 32 inputs on Hopper (few_plan.h says how they are cut).
// Each warp decodes weights into the left operand of mma; nobody waits for another warp before the
// sums are put together. The order of every sum is fixed by the shape and the device.
#include "kernels/cuda/few_end.cuh"
#include "kernels/cuda/overlap.cuh"

namespace upg::kernels::cuda {
namespace {

// What the sums of each input are multiplied by: by a warp an input.
template <int kInputs>
__device__ __forceinline__ void find_norms(const FewArguments& a, FewShared& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int input = static_cast<int>(threadIdx.x) / kWarp; input < kInputs; input += kFewWarps) {
    const float norm = input < a.x.rows ? norm_of(a.end.norm, input, lane) : 1.0f;
    if (lane == 0) shared.norm[input] = norm;
  }
}

template <Kind kKind, bool kTwo, int kInputs>
__global__ void __launch_bounds__(kFewThreads, 1)
    few_kernel(const __grid_constant__ FewArguments a) {
  using L = FewLayout<kKind, kInputs>;
  extern __shared__ __align__(128) uint8_t base[];
  __shared__ FewShared shared;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  let_next_begin();
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      barrier_init(&shared.full[i], 1);
      barrier_init(&shared.empty[i], kFewWarps);
    }
    barriers_ready();
  }
  const FewShare share = FewShare::of<kInputs>(a);
  uint8_t* slots = base + a.slots_at + warp * a.slots * L::kSlotBytes;
  FewAsking<L, kInputs> asking(a, share, slots);  // codes, which no kernel writes
  prefetch_end(a, share);
  __syncthreads();
  wait_for_earlier();
  const int buffer_bytes = share.pass_blocks * few_block_bytes(kInputs);
  if (threadIdx.x == 0) {
    for (int i = 0; i < min(a.passes, 2); ++i) {
      bring_inputs<kInputs>(a, share, i, base + i * buffer_bytes, &shared.full[i]);
    }
  }
  find_norms<kInputs>(a, shared);
  asking.fill();  // not before: what has been asked for delays the inputs
  FewSums<L> sums;
  sums.clear();
  const FewPieces pieces = {base, base + a.ended_at};
  int slot = 0;
#pragma unroll 1
  for (int pass = 0; pass < (few_passes(kInputs) ? a.passes : 1); ++pass) {
    const int i = pass % 2;
    uint8_t* buffer = base + i * buffer_bytes;
    barrier_wait(&shared.full[i], pass / 2 % 2);
    multiply_range<kKind, kTwo, kInputs>(a, share, pass, buffer, slots, slot, asking, pieces.ended,
                                         sums);
    if (pass + 2 >= a.passes) continue;
    __syncwarp();
    if (threadIdx.x % kWarp == 0) barrier_arrive(&shared.empty[i]);
    if (threadIdx.x == 0) {
      barrier_wait(&shared.empty[i], pass / 2 % 2);
      bring_inputs<kInputs>(a, share, pass + 2, buffer, &shared.full[i]);
    }
  }
  __syncthreads();  // open sums take the place of the inputs
  sums.store(base + warp * few_piece_bytes(kInputs));
  __syncthreads();
  if (finish<kKind, kInputs>(a, share, shared, pieces) && a.end.gated_tiles != nullptr) {
    finish_gated(a, share, shared);
  }
}

}  // namespace

FewPlan few_plan_of(const MatrixView& w, int inputs, bool whole_blocks,
                    const DeviceLimits& limits) noexcept {
  const auto tiles = static_cast<int>((w.rows + kFewTileRows - 1) / kFewTileRows);
  // Places in the codes are 32 bits (FewAsking).
  if (w.rows * w.blocks * 16 * vectors_of(w.kind) >= int64_t{1} << 32) return {};
  FewShape shape = {tiles, static_cast<int>(w.blocks), inputs, vectors_of(w.kind), whole_blocks};
  const FewPlan plan = plan_few(shape, limits);
  if (plan.fits || whole_blocks || w.rows % kColumns != 0) return plan;
  shape.whole_blocks = true;
  return plan_few(shape, limits);
}

namespace {

struct Launch {
  FewArguments arguments;
  const DeviceLimits& limits;
  cudaStream_t stream;
  bool& done;

  template <Kind kKind, bool kTwo>
  void operator()() const {
    if (arguments.x.tiled_rows == 8) return run<kKind, kTwo, 8>();
    if (arguments.x.tiled_rows == 16) return run<kKind, kTwo, 16>();
    return run<kKind, kTwo, 32>();
  }

  template <Kind kKind, bool kTwo, int kInputs>
  void run() const {
    FewArguments a = arguments;
    a.tiles = static_cast<int>((a.w.rows + kFewTileRows - 1) / kFewTileRows);
    const FewPlan plan = few_plan_of(a.w, kInputs, a.end.weight != nullptr, limits);
    done = plan.fits;
    if (!done) return;
    a.groups = plan.groups;
    a.slices = plan.slices;
    a.passes = plan.passes;
    a.slots = plan.slots;
    a.ended_at = plan.ended_at;
    a.slots_at = plan.slots_at;
    const auto kernel = few_kernel<kKind, kTwo, kInputs>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.shared_bytes);
    launch_overlapped(kernel, dim3(static_cast<unsigned>(plan.groups * plan.slices)), kFewThreads,
                      plan.shared_bytes, stream, a);
  }
};

}  // namespace

bool multiply_few(const MatrixView& w, const InputView& x, const OutputView& out, const FewEnd& end,
                  const ProductScratch& scratch, const DeviceLimits& limits, cudaStream_t stream) {
  if (x.tiled_rows > kMostFewInputs) return false;
  bool done = false;
  const Launch launch{{w, x, out, end, scratch, 0, 0, 0, 0, 0, 0, 0, 1}, limits, stream, done};
  dispatch_kind(w.kind, w.two_palettes, launch);
  return done;
}

}  // namespace upg::kernels::cuda
