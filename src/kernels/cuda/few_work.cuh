// What a warp does in a product with a few inputs (products_few.cu): the stages of its range, how
// their codes come into shared memory, and the sums of a unit over them.
#pragma once

#include "kernels/cuda/few.h"
#include "kernels/cuda/mma_bytes.cuh"
#include "kernels/cuda/ring.cuh"
#include "kernels/cuda/row_words.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace upg::kernels::cuda {

struct FewArguments {
  MatrixView w;
  InputView x;
  OutputView out;
  FewEnd end;
  ProductScratch scratch;
  int tiles;
  int groups;
  int slices;
  int passes;
  int slots;
  int ended_at;
  int slots_at;
  uint32_t one;  // 1
};

// The same for all lanes, and known to be: what depends on it does not diverge.
__device__ __forceinline__ int few_warp() {
  return static_cast<int>(__reduce_max_sync(kAllLanes, threadIdx.x / kWarp));
}

// The block's share.
struct FewShare {
  Span tiles;
  Span blocks;
  int units;
  int pass_blocks;

  template <int kInputs>
  static __device__ __forceinline__ FewShare of(const FewArguments& a) {
    const auto index = static_cast<int>(blockIdx.x);
    const int group = index / a.slices;
    FewShare s;
    s.tiles = span_of(a.tiles, group, a.groups);
    s.blocks = span_of(static_cast<int>(a.w.blocks), index - group * a.slices, a.slices);
    constexpr int kTiles = few_unit_tiles(kInputs);
    s.units = (s.tiles.end - s.tiles.begin + kTiles - 1) / kTiles;
    s.pass_blocks = pass_blocks_of(s.blocks.end - s.blocks.begin, a.passes);
    return s;
  }
};

// A warp's range in one pass.
struct FewRange {
  Span blocks;  // of the pass
  Span stages;  // unit after unit
  int unit_stages;

  template <int kInputs>
  static __device__ __forceinline__ FewRange of(const FewShare& share, int pass, int warp) {
    constexpr int kBlocks = few_stage_blocks(kInputs);
    FewRange r;
    r.blocks.begin = share.blocks.begin + pass * share.pass_blocks;
    r.blocks.end = min(r.blocks.begin + share.pass_blocks, share.blocks.end);
    r.unit_stages = (max(r.blocks.end - r.blocks.begin, 0) + kBlocks - 1) / kBlocks;
    r.stages = span_of(share.units * r.unit_stages, warp, kFewWarps);
    return r;
  }
};

// Until the oldest of what all slots but one were asked for is there.
__device__ __forceinline__ void wait_copies_of(int slots) {
  if (slots == 4) return wait_copies<2>();
  if (slots == 3) return wait_copies<1>();
  wait_copies<0>();
}

template <Kind kKind, int kInputs>
struct FewLayout {
  static constexpr int kTiles = few_unit_tiles(kInputs);
  static constexpr int kBlocks = few_stage_blocks(kInputs);
  static constexpr int kVectors = vectors_of(kKind);
  static constexpr int kVectorBytes = kVectors * 64;  // of a row group and block
  static constexpr int kStride = few_group_bytes(kVectors, kInputs);
  static constexpr bool kTurns = few_groups_turn(kVectors, kInputs);
  static constexpr int kSlotBytes = few_slot_bytes(kVectors, kInputs);
  static constexpr int kGroupVectors = kBlocks * kVectors * 4;        // of a row group and stage
  static constexpr int kCopies = kTiles * 4 * kGroupVectors / kWarp;  // of a lane and stage
  static constexpr int kInputTiles = kInputs / 8;
  static_assert(kCopies * kWarp == kTiles * 4 * kGroupVectors);
};

// What a warp asks for: the stages of its ranges. Every ask() closes a group of copies, an empty
// one past the last stage.
template <class L, int kInputs>
class FewAsking {
 public:
  // slots: of the warp.
  __device__ __forceinline__ FewAsking(const FewArguments& a, const FewShare& share, uint8_t* slots)
      : a_(a),
        share_(share),
        codes_(a.w.codes),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        slots_(shared_address(slots)),
        slots_bytes_(a.slots * L::kSlotBytes) {
#pragma unroll
    for (int i = 0; i < L::kCopies; ++i) {
      to_[i] = slots_ + place_of(i);
      if (L::kCopies <= kKeptPlaces) asm volatile("" : "+r"(to_[i]));  // not computed each time
    }
    begin_pass();
    ask();
  }

  // All but one slot are asked for. After the constructor.
  __device__ __forceinline__ void fill() {
#pragma unroll 1
    for (int i = 2; i < a_.slots; ++i) ask();
  }

  __device__ __forceinline__ void ask() {
    if (few_passes(kInputs) && left_ == 0 && pass_ + 1 < a_.passes) {
      ++pass_;
      begin_pass();
    }
    if (left_ > 0) {
      if (stage_ == unit_stages_) {
        stage_ = 0;
        ++unit_;
        begin_unit();
      }
      ++stage_;
      --left_;
      copy(L::kBlocks == 1 || stage_ * L::kBlocks <= blocks_);
#pragma unroll
      for (int i = 0; i < L::kCopies; ++i) from_[i] += L::kBlocks * L::kVectorBytes;
    }
    slot_ += L::kSlotBytes;
    if (slot_ == slots_bytes_) slot_ = 0;
    close_copies();
  }

 private:
  // whole: both blocks.
  __device__ __forceinline__ void copy(bool whole) const {
    if (whole) {
#pragma unroll
      for (int i = 0; i < L::kCopies; ++i) copy_vector(to_[i] + slot_, codes_ + from_[i]);
      return;
    }
#pragma unroll
    for (int i = 0; i < L::kCopies; ++i) {
      if (vector_of(i) < L::kVectors * 4) copy_vector(to_[i] + slot_, codes_ + from_[i]);
    }
  }

  static constexpr int kKeptPlaces = 4;

  // Vector i of the lane's: of a stage.
  __device__ __forceinline__ int vector_of(int i) const {
    return (lane_ + i * kWarp) % L::kGroupVectors;
  }
  __device__ __forceinline__ int group_of(int i) const {
    return (lane_ + i * kWarp) / L::kGroupVectors;
  }
  __device__ __forceinline__ uint32_t place_of(int i) const {
    const int turn = L::kTurns ? group_of(i) % 2 * 64 : 0;
    return static_cast<uint32_t>(group_of(i) * L::kStride + ((vector_of(i) * 16) ^ turn));
  }
  __device__ __forceinline__ void begin_pass() {
    const FewRange range = FewRange::of<kInputs>(share_, pass_, few_warp());
    first_block_ = range.blocks.begin;
    blocks_ = range.blocks.end - range.blocks.begin;
    unit_stages_ = range.unit_stages;
    left_ = range.stages.end - range.stages.begin;
    unit_ = range.stages.begin / max(unit_stages_, 1);
    stage_ = range.stages.begin - unit_ * unit_stages_;
    if (left_ > 0) begin_unit();
  }
  // Row group `index` of a tile: those of gate first, where rows of gate and up meet.
  __device__ __forceinline__ uint32_t row_group(int tile, int index, int groups) const {
    int group = tile * 4 + index;
    if (a_.end.gated) group = tile * 2 + index % 2 + index / 2 * (groups / 2);
    return static_cast<uint32_t>(min(group, groups - 1));
  }
  __device__ __forceinline__ void begin_unit() {
    const auto groups = (static_cast<int>(a_.w.rows) + codec::kGroupRows - 1) / codec::kGroupRows;
    const int tile = share_.tiles.begin + unit_ * L::kTiles;
    const uint32_t group_bytes = static_cast<uint32_t>(a_.w.blocks) * L::kVectorBytes;
    const auto skipped =
        static_cast<uint32_t>((first_block_ + stage_ * L::kBlocks) * L::kVectorBytes);
#pragma unroll
    for (int i = 0; i < L::kCopies; ++i) {
      const uint32_t group = row_group(tile + group_of(i) / 4, group_of(i) % 4, groups);
      from_[i] = group * group_bytes + skipped + static_cast<uint32_t>(vector_of(i)) * 16;
    }
  }

  const FewArguments& a_;
  const FewShare& share_;
  const uint8_t* codes_;
  int lane_;
  uint32_t slots_;
  int slots_bytes_;
  uint32_t from_[L::kCopies];  // of the codes, which are less than 4 GB
  uint32_t to_[L::kCopies];
  int first_block_;
  int blocks_;
  int unit_stages_;
  int left_;
  int unit_;
  int stage_;
  int pass_ = 0;
  int slot_ = 0;  // bytes
};

// ---- products of 16 rows by 8 inputs, 32 deep

// Four 16-byte vectors of eight inputs of a tile (views.h): the right operands of two steps.
__device__ __forceinline__ void load_inputs(uint32_t at, uint32_t (&b)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
               : "r"(at)
               : "memory");
}
// The codes of a stage in shared memory, at the lane's word of its upper row in the first tile:
// even and odd vectors of 64 bytes (few_groups_turn()).
struct FewRows {
  const uint8_t* even;
  const uint8_t* odd;

  template <class L>
  static __device__ __forceinline__ FewRows of(const uint8_t* slot, int lane) {
    const uint8_t* at = slot + lane / 16 * L::kStride + lane / 4 % 4 * 16 + lane % 4 * 4;
    const int turn = L::kTurns ? lane / 16 * 64 : 0;
    return {at + turn, at - turn};
  }
  // Two row groups further for the lower row, four for the next tile. block: of the stage.
  template <class L, Kind kKind>
  __device__ __forceinline__ RowWords<kKind> load(int block, int groups) const {
    RowWords<kKind> words;
#pragma unroll
    for (int v = 0; v < L::kVectors; ++v) {
      const int vector = block * L::kVectors + v;
      const uint8_t* at = (vector % 2 == 0 ? even : odd) + vector * 64 + groups * L::kStride;
      words.w[v][0] = *reinterpret_cast<const uint32_t*>(at);
    }
    return words;
  }
};

// The inputs of a pass in shared memory: integers in tiles, behind them scales and
// starts.
struct FewInputs {
  uint32_t matrix[2];     // the lane's place for load_inputs, of either half
  const uint8_t* scales;  // the lane's

  template <int kInputs>
  static __device__ __forceinline__ FewInputs of(const uint8_t* base, int blocks) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const uint32_t at = shared_address(base) + lane % 8 * 128 + ((lane / 8) ^ (lane % 8)) * 16;
    return {{at, at ^ 64}, base + blocks * (kInputs * kColumns) + lane % 4 * 8};
  }
  template <int kInputs>
  __device__ __forceinline__ void skip(int blocks) {
    matrix[0] += blocks * (kInputs * kColumns);
    matrix[1] += blocks * (kInputs * kColumns);
    scales += blocks * (8 * kInputs);
  }
};

// A warp's sums of a unit: [tile][eight inputs][register].
template <class L>
struct FewSums {
  float4 at[L::kTiles][L::kInputTiles];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int t = 0; t < L::kTiles; ++t) {
#pragma unroll
      for (int n = 0; n < L::kInputTiles; ++n) at[t][n] = {0, 0, 0, 0};
    }
  }
  // piece: [tile][eight inputs][lane]
  __device__ __forceinline__ void store(uint8_t* piece) const {
    auto* to = reinterpret_cast<float4*>(piece) + threadIdx.x % kWarp;
#pragma unroll
    for (int t = 0; t < L::kTiles; ++t) {
#pragma unroll
      for (int n = 0; n < L::kInputTiles; ++n) to[(t * L::kInputTiles + n) * kWarp] = at[t][n];
    }
  }
};

// dots: of levels + 128, begun with the input's start (views.h).
__device__ __forceinline__ void add_dots(const int (&dots)[4], float2 scale, float4& sum) {
  const auto levels = [](int dot) { return __fsub_rn(__int_as_float(dot), kTileZero); };
  sum.x = fmaf(levels(dots[0]), scale.x, sum.x);
  sum.y = fmaf(levels(dots[1]), scale.y, sum.y);
  sum.z = fmaf(levels(dots[2]), scale.x, sum.z);
  sum.w = fmaf(levels(dots[3]), scale.y, sum.w);
}

// Levels of the lane's two rows of a tile and block, plus 128, as the left operands of four steps.
template <Kind kKind, bool kTwo>
__device__ __forceinline__ void decode_tile(const Palette& palette, uint32_t one,
                                            const RowWords<kKind>& upper,
                                            const RowWords<kKind>& lower, uint32_t (&left)[4][4]) {
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    uint32_t quads[4][2];
    (e == 0 ? upper : lower).template quads<kTwo, true>(palette, one, quads);
#pragma unroll
    for (int g = 0; g < 4; ++g) {
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        uint32_t quad = quads[g][s];
        if constexpr (kKind == Kind::kInt8) {
          quad ^= 0x80808080u;
        } else if constexpr (!kTwo) {
          quad += 0x40404040u;
        }
        left[g][2 * s + e] = quad;
      }
    }
  }
}

// Adds the first kCount blocks of columns of a stage, which meet those of the inputs. Each has its
// own chain of products.
template <Kind kKind, bool kTwo, int kInputs, int kCount>
__device__ __forceinline__ void add_few(const Palette& palette, uint32_t one, const FewRows& rows,
                                        const FewInputs& inputs,
                                        FewSums<FewLayout<kKind, kInputs>>& sums) {
  using L = FewLayout<kKind, kInputs>;
  uint32_t left[kCount][L::kTiles][4][4];
#pragma unroll
  for (int b = 0; b < kCount; ++b) {
#pragma unroll
    for (int t = 0; t < L::kTiles; ++t) {
      decode_tile<kKind, kTwo>(palette, one, rows.load<L, kKind>(b, 4 * t),
                               rows.load<L, kKind>(b, 4 * t + 2), left[b][t]);
    }
  }
#pragma unroll
  for (int n = 0; n < L::kInputTiles; ++n) {
    uint32_t right[kCount][2][4];
    float2 scale[kCount];
    int dots[kCount][L::kTiles][4];
#pragma unroll
    for (int b = 0; b < kCount; ++b) {
      const uint32_t skipped = b * (kInputs * kColumns) + n * 1024;
      load_inputs(inputs.matrix[0] + skipped, right[b][0]);
      load_inputs(inputs.matrix[1] + skipped, right[b][1]);
      const uint8_t* scales = inputs.scales + b * (8 * kInputs) + n * 32;
      scale[b] = *reinterpret_cast<const float2*>(scales);
      const int2 start = *reinterpret_cast<const int2*>(scales + 4 * kInputs);
#pragma unroll
      for (int t = 0; t < L::kTiles; ++t) {
        dots[b][t][0] = dots[b][t][2] = start.x;
        dots[b][t][1] = dots[b][t][3] = start.y;
      }
    }
#pragma unroll
    for (int g = 0; g < 4; ++g) {
#pragma unroll
      for (int b = 0; b < kCount; ++b) {
#pragma unroll
        for (int t = 0; t < L::kTiles; ++t) {
          const uint32_t(&r)[4] = right[b][g / 2];
          mma_bytes(dots[b][t], left[b][t][g], r[g % 2 * 2], r[g % 2 * 2 + 1]);
        }
      }
    }
#pragma unroll
    for (int b = 0; b < kCount; ++b) {
#pragma unroll
      for (int t = 0; t < L::kTiles; ++t) add_dots(dots[b][t], scale[b], sums.at[t][n]);
    }
  }
}

// A warp's range of a pass. Sums of a unit that ends within the only pass go to `ended`; others
// stay in `sums`, else zeros. base: the pass's inputs. slot: of the next stage.
template <Kind kKind, bool kTwo, int kInputs>
__device__ __forceinline__ void multiply_range(
    const FewArguments& a, const FewShare& share, int pass, const uint8_t* base, uint8_t* slots,
    int& slot, FewAsking<FewLayout<kKind, kInputs>, kInputs>& asking, uint8_t* ended,
    FewSums<FewLayout<kKind, kInputs>>& sums) {
  using L = FewLayout<kKind, kInputs>;
  const FewRange range = FewRange::of<kInputs>(share, pass, few_warp());
  const int blocks = range.blocks.end - range.blocks.begin;
  const FewInputs first = FewInputs::of<kInputs>(base, blocks);
  const Palette palette = a.w.palette;
  const uint32_t one = a.one;
  const int slot_count = a.slots;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int unit = range.stages.begin / max(range.unit_stages, 1);
  int stage = range.stages.begin - unit * range.unit_stages;
  FewInputs inputs = first;
  inputs.skip<kInputs>(stage * L::kBlocks);
#pragma unroll 1
  for (int left = range.stages.end - range.stages.begin; left > 0; --left) {
    // The lanes copy for one another: all see this stage, and have seen the one whose slot is asked
    // for next.
    wait_copies_of(slot_count);
    __syncwarp();
    asking.ask();
    const FewRows rows = FewRows::of<L>(slots + slot * L::kSlotBytes, lane);
    slot = slot + 1 == slot_count ? 0 : slot + 1;
    ++stage;
    if (L::kBlocks == 1 || stage * L::kBlocks <= blocks) {
      add_few<kKind, kTwo, kInputs, L::kBlocks>(palette, one, rows, inputs, sums);
    } else {
      add_few<kKind, kTwo, kInputs, 1>(palette, one, rows, inputs, sums);
    }
    inputs.skip<kInputs>(L::kBlocks);
    if (stage == range.unit_stages && (!few_passes(kInputs) || a.passes == 1)) {
      sums.store(ended + unit * few_piece_bytes(kInputs));
      sums.clear();
      inputs = first;
      stage = 0;
      ++unit;
    }
  }
}

// By one thread: the inputs of a pass.
template <int kInputs>
__device__ __forceinline__ void bring_inputs(const FewArguments& a, const FewShare& share, int pass,
                                             uint8_t* base, uint64_t* full) {
  constexpr int kBytes = kInputs * kColumns;
  const Span own = FewRange::of<kInputs>(share, pass, 0).blocks;
  const int blocks = own.end - own.begin;
  barrier_expect(full, blocks * few_block_bytes(kInputs));
  const int8_t* q = a.x.q + static_cast<int64_t>(own.begin) * kBytes;
  copy_bulk(base, q, blocks * kBytes, full);
  copy_bulk(base + blocks * kBytes,
            a.x.tile_scale + static_cast<int64_t>(own.begin) * (2 * kInputs),
            blocks * (8 * kInputs), full);
}

}  // namespace upg::kernels::cuda
