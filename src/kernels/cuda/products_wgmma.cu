// Products of the integer codecs for several inputs on Hopper: warpgroups decode weights into the
// left operand of wgmma, which stays in registers; inputs lie in shared memory in the order that
// prepare() gave them, brought by one thread in bulk copies. Codes are asked for by the warp that
// decodes them, some blocks ahead: bulk copies of a few hundred bytes cost about 90 cycles each.
//
// Work is rows by inputs, a tile each; with few tiles the columns are divided too, so that every
// multiprocessor has as much to do as any other: each takes one range of (tile, block of columns)
// and what it has of an unfinished tile goes to memory; whoever ends a tile last adds the parts up
// in the order of columns. The order of every sum is fixed by the shape and the device.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/overlap.cuh"
#include "kernels/cuda/row_words.cuh"
#include "kernels/cuda/wgmma_work.cuh"

namespace upg::kernels::cuda {
namespace {

// Registers of a thread that brings and of one that computes: together no more than the block was
// given when it began, which is as many for each thread as all of them could have, rounded down to
// a multiple of 8.
constexpr int kFewRegisters = 32;
constexpr int registers_of(int groups) {
  const int given = (1 << 16) / ((groups + 1) * kGroupThreads) / 8 * 8;
  return ((groups + 1) * given - kFewRegisters) / groups / 8 * 8;
}
static_assert(registers_of(2) == 232 && registers_of(3) == 160 && registers_of(4) == 112);

// ---- what a warpgroup computes

// The left operand of one block: rows lane / 4 and lane / 4 + 8 of the warp.
struct Left {
  uint32_t step[4][4];
};

// Levels as signed bytes, or levels + 128 as unsigned ones: with many inputs it is cheaper to take
// the offset from each weight than from each sum. one: 1, which the compiler must not know: with
// few inputs sums go to the pipe of multiplications, which has nothing else to do.
template <Kind kKind, bool kTwo, bool kSigned>
__device__ __forceinline__ void decode(const Palette& palette, uint32_t one, const uint8_t* upper,
                                       const uint8_t* lower, Left& left) {
  constexpr bool kInt8 = kKind == Kind::kInt8;
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    RowWords<kKind> words;
    uint32_t quads[4][2];
    words.load(e == 0 ? upper : lower);
    words.template quads<kTwo>(palette, kSigned ? 1 : one, quads);
#pragma unroll
    for (int g = 0; g < 4; ++g) {
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        uint32_t quad = quads[g][s];
        if constexpr (!kTwo && !kInt8) quad += 0x40404040u;
        if constexpr (kSigned != kInt8) quad ^= 0x80808080u;
        left.step[g][2 * s + e] = quad;
      }
    }
  }
}

// scales: of the block's inputs; where sums are those of levels + 128, starts behind them.
template <int kInputs, bool kSigned>
__device__ __forceinline__ void add_block(const int (&dots)[kInputs / 2], const uint8_t* scales,
                                          int lane, float (&sums)[kInputs / 2]) {
  const auto to_float = [](int dot, uint32_t start) {
    return __fsub_rn(__uint_as_float(static_cast<uint32_t>(dot) + start), kTileZero);
  };
#pragma unroll
  for (int i = 0; i < kInputs / 8; ++i) {
    const uint8_t* at = scales + (8 * i + lane % 4 * 2) * 4;
    const float2 scale = *reinterpret_cast<const float2*>(at);
    uint2 start = {kTileStart, kTileStart};
    if constexpr (!kSigned) start = *reinterpret_cast<const uint2*>(at + 4 * kInputs);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int n = 4 * i + 2 * e;
      sums[n] = fmaf(to_float(dots[n], start.x), scale.x, sums[n]);
      sums[n + 1] = fmaf(to_float(dots[n + 1], start.y), scale.y, sums[n + 1]);
    }
  }
}

template <Kind kKind, bool kTwo, int kInputs, int kGroups>
class Computing {
 public:
  using L = Layout<kKind, kInputs, kGroups>;
  static constexpr int kSums = kInputs / 2;

  __device__ __forceinline__ Computing(const WgmmaArguments& a, uint8_t* base, Barriers& barriers)
      : base_(base),
        codes_(base + L::kCodesAt +
               static_cast<int>(threadIdx.x) / kWarp * (L::kCodeStages * L::kCodeBytes)),
        barriers_(barriers),
        palette_(a.w.palette),
        one_(a.one),
        asking_(a, codes_, kGroups * kGroupRows) {
    lane_ = static_cast<int>(threadIdx.x) % kWarp;
    codes_ += lane_ / 16 * L::kCodeStride + lane_ / 4 % 4 * 16 + lane_ % 4 * 4;
  }

  __device__ __forceinline__ void run(const Segment& s, float (&sums)[kSums]) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) sums[i] = 0;
    begin_codes();
    Left left[2];
    decode_block(left[0], 0);
    int dots[kSums] = {};
    for (int block = s.first; block < s.last; block += kStageBlocks) {
      const bool second = block + 1 < s.last;
      const uint8_t* stage = begin_stage();
      multiply(stage, left[0], dots);
      decode_block(left[1], 1);  // past the last one: anything, not added
      end_codes();
      finish(stage, 0, true, dots, sums);
      multiply(stage + L::kInputBytes, left[1], dots);
      if (block + kStageBlocks < s.last) {
        begin_codes();
        decode_block(left[0], 0);
      }
      finish(stage, 1, second, dots, sums);
      end_stage(stage);
    }
  }

 private:
  // The stage that is asked for takes the place of the one that was decoded last.
  __device__ __forceinline__ void begin_codes() {
    asking_.ask();
    wait_copies<L::kCodeStages - 1>();
    __syncwarp();
  }
  __device__ __forceinline__ void end_codes() {
    code_stage_ = code_stage_ + 1 == L::kCodeStages ? 0 : code_stage_ + 1;
    __syncwarp();
  }
  __device__ __forceinline__ void decode_block(Left& left, int block) {
    const uint8_t* at = codes_ + code_stage_ * L::kCodeBytes + block * L::kVectorBytes;
    decode<kKind, kTwo, L::kSigned>(palette_, one_, at, at + 2 * L::kCodeStride, left);
  }
  __device__ __forceinline__ const uint8_t* begin_stage() {
    const uint8_t* stage = base_ + turn_.stage * L::kStageBytes;
    barrier_wait(&barriers_.full[turn_.stage], turn_.parity);
    turn_.next();
    return stage;
  }
  __device__ __forceinline__ void end_stage(const uint8_t* stage) {
    __syncwarp();
    const auto index = static_cast<int>(stage - base_) / L::kStageBytes;
    if (lane_ == 0) barrier_arrive(&barriers_.empty[index]);
  }
  __device__ __forceinline__ void multiply(const uint8_t* inputs, const Left& left,
                                           int (&dots)[kSums]) {
    const uint64_t right = swizzled_operand(inputs);
    hold(dots);
    wgmma_begin();
#pragma unroll
    for (int g = 0; g < 4; ++g) Wgmma<kInputs>::run(dots, left.step[g], right + 2 * g, g);
    wgmma_commit();
  }
  __device__ __forceinline__ void finish(const uint8_t* stage, int block, bool add,
                                         int (&dots)[kSums], float (&sums)[kSums]) {
    wgmma_wait<0>();
    hold(dots);
    if (!add) return;
    add_block<kInputs, L::kSigned>(dots, stage + L::kScalesAt + block * L::kScaleBytes, lane_,
                                   sums);
  }

  uint8_t* base_;
  uint8_t* codes_;  // of the warp; then of the lane's upper row
  Barriers& barriers_;
  Palette palette_;
  uint32_t one_;
  Asking<L, kKind> asking_;
  Turn<L::kStages> turn_;
  int code_stage_ = 0;
  int lane_;
};

// ---- what becomes of the sums

template <Kind kKind, int kInputs, int kGroups>
__device__ __forceinline__ void store(const WgmmaArguments& a, const Segment& s,
                                      const float (&sums)[kInputs / 2]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t row =
      int64_t{s.tile / a.input_tiles} * (kGroups * kGroupRows) + warp * 16 + lane / 4;
  const int64_t input = int64_t{s.tile % a.input_tiles} * kInputs + lane % 4 * 2;
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const int64_t r = row + 8 * e;
    if (r >= a.w.rows) continue;
    const float factor = row_factor<kKind>(a.w.scale[r]);
    const float bias = a.out.bias != nullptr ? a.out.bias[r] : 0.0f;
#pragma unroll
    for (int i = 0; i < kInputs / 8; ++i) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int64_t to = input + 8 * i + c;
        if (to >= a.x.rows) continue;
        float& y = a.out.y[to * a.out.stride + r];
        float value = __fmul_rn(sums[4 * i + 2 * e + c], factor);
        if (a.out.bias != nullptr) value += bias;
        y = a.out.add ? y + value : value;
      }
    }
  }
}

template <int kThreads>
__device__ __forceinline__ void meet() {
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
}

// Where a multiprocessor's part of a tile lies: it has at most two, that of its first segment and
// that of its last.
template <int kSums, int kThreads>
__device__ __forceinline__ float* part_of(const WgmmaArguments& a, int index, int tile) {
  const bool first = range_begin(a, index) >= tile * a.blocks;
  return a.scratch.parts + (int64_t{2 * index} + (first ? 0 : 1)) * (kSums * kThreads) +
         threadIdx.x;
}

// Puts the parts of a tile together when this one is the last; false when others are to come.
template <int kSums, int kThreads>
__device__ __forceinline__ bool combine_parts(const WgmmaArguments& a, const Segment& s, int& last,
                                              float (&sums)[kSums]) {
  const int begin = s.tile * a.blocks;
  const int end = begin + a.blocks;
  const auto own = static_cast<int>(blockIdx.x);
  int from = own;
  while (range_begin(a, from) > begin) --from;
  int to = own + 1;
  while (range_begin(a, to) < end) ++to;
  float* part = part_of<kSums, kThreads>(a, own, s.tile);
#pragma unroll
  for (int i = 0; i < kSums; ++i) __stcg(part + i * kThreads, sums[i]);
  __threadfence();
  meet<kThreads>();
  if (threadIdx.x == 0) {
    const int before = atomicAdd(a.scratch.counters + s.tile, s.last - s.first);
    last = before + s.last - s.first == a.blocks;
    if (last != 0) a.scratch.counters[s.tile] = 0;
  }
  meet<kThreads>();
  if (last == 0) return false;
  __threadfence();
#pragma unroll
  for (int i = 0; i < kSums; ++i) sums[i] = 0;
  constexpr int kAtOnce = kSums <= 8 ? 4 : kSums <= 16 ? 2 : 1;  // parts on their way together
  for (int index = from; index < to; index += kAtOnce) {
    float other[kAtOnce][kSums];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const float* part = part_of<kSums, kThreads>(a, min(index + u, to - 1), s.tile);
#pragma unroll
      for (int i = 0; i < kSums; ++i) other[u][i] = __ldcg(part + i * kThreads);
    }
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      if (index + u >= to) break;
#pragma unroll
      for (int i = 0; i < kSums; ++i) sums[i] += other[u][i];
    }
  }
  return true;
}

template <Kind kKind, bool kTwo, int kInputs, int kGroups>
__global__ void __launch_bounds__((kGroups + 1) * kGroupThreads, 1)
    wgmma_kernel(const __grid_constant__ WgmmaArguments a) {
  using L = Layout<kKind, kInputs, kGroups>;
  constexpr int kComputing = kGroups * kGroupThreads;
  extern __shared__ __align__(1024) uint8_t base[];
  __shared__ Barriers barriers;
  __shared__ int last;
  if (threadIdx.x == 0) {
    for (int i = 0; i < L::kStages; ++i) {
      barrier_init(&barriers.full[i], 1);
      barrier_init(&barriers.empty[i], kComputing / kWarp);
    }
    barriers_ready();
  }
  let_next_begin();
  __syncthreads();
  if (threadIdx.x >= kComputing) {
    give_registers<kFewRegisters>();
    wait_for_earlier();
    if (threadIdx.x < kComputing + kWarp) bring<L, kInputs>(a, base, barriers);
    return;
  }
  take_registers<registers_of(kGroups)>();
  // Asks for the first codes, which no kernel writes, before it waits.
  Computing<kKind, kTwo, kInputs, kGroups> computing(a, base, barriers);
  wait_for_earlier();
  Segments segments(a);
  Segment s;
  while (segments.next(s)) {
    float sums[kInputs / 2];
    computing.run(s, sums);
    const bool whole = s.last - s.first == a.blocks;
    if (!whole && !combine_parts<kInputs / 2, kComputing>(a, s, last, sums)) continue;
    store<kKind, kInputs, kGroups>(a, s, sums);
  }
}

struct Launch {
  WgmmaArguments arguments;
  int multiprocessors;
  cudaStream_t stream;

  template <Kind kKind, bool kTwo>
  void operator()() const {
    const InputView& x = arguments.x;
    if (x.rows <= 8) return run<kKind, kTwo, 8, 4>();
    if (x.rows <= 16) return run<kKind, kTwo, 16, 4>();
    if (x.rows <= 32) return run<kKind, kTwo, 32, 4>();
    if (x.rows <= 64) return run<kKind, kTwo, 64, 3>();
    return run<kKind, kTwo, 128, 2>();
  }

  template <Kind kKind, bool kTwo, int kInputs, int kGroups>
  void run() const {
    constexpr int kRows = kGroups * kGroupRows;
    constexpr int kPartTiles = 4;  // a multiprocessor; with more no one waits long for the last
    static_assert(kRows * kInputs <= kMostPartFloats);
    WgmmaArguments a = arguments;
    const int row_tiles = static_cast<int>((a.w.rows + kRows - 1) / kRows);
    a.input_tiles = static_cast<int>((a.x.rows + kInputs - 1) / kInputs);
    a.tiles = row_tiles * a.input_tiles;
    a.blocks = static_cast<int>(a.w.blocks);
    a.divided = a.tiles < kPartTiles * multiprocessors && a.tiles <= kMostPartTiles;
    const int grid =
        a.divided ? min(multiprocessors, a.tiles * a.blocks) : min(multiprocessors, a.tiles);
    const auto kernel = wgmma_kernel<kKind, kTwo, kInputs, kGroups>;
    constexpr int kBytes = Layout<kKind, kInputs, kGroups>::kBytes;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    launch_overlapped(kernel, dim3(static_cast<unsigned>(grid)), (kGroups + 1) * kGroupThreads,
                      kBytes, stream, a);
  }

  static int min(int x, int y) { return x < y ? x : y; }
};

}  // namespace

void multiply_on_hopper(const MatrixView& w, const InputView& x, const OutputView& out,
                        const ProductScratch& scratch, int multiprocessors, cudaStream_t stream) {
  const Launch launch{{w, x, out, scratch, 0, 0, 0, false, 1}, multiprocessors, stream};
  dispatch_kind(w.kind, w.two_palettes, launch);
}

}  // namespace upg::kernels::cuda
