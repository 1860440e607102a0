// How the products on Hopper (products_wgmma.cu) come by their work and its data: which part of
// which tile a multiprocessor takes, what lies where in shared memory, who brings it.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ring.cuh"
#include "kernels/cuda/views.h"
#include "kernels/cuda/wgmma.cuh"

namespace upg::kernels::cuda {

constexpr int kGroupThreads = 128;
constexpr int kGroupRows = 64;  // of a warpgroup
constexpr int kStageBlocks = 2;
constexpr int kMostInputs = 128;  // of a tile
constexpr int kMostStages = 6;
constexpr int kMostCodeStages = 4;
constexpr int kSharedBytes = 220 << 10;
constexpr int kMostCodeBytes = 150 << 10;  // of them
struct WgmmaArguments {
  MatrixView w;
  InputView x;
  OutputView out;
  ProductScratch scratch;
  int tiles;
  int input_tiles;
  int blocks;
  bool divided;  // the columns, too
  uint32_t one;  // 1
};

// ---- who does what

struct Segment {
  int tile;
  int first;  // block
  int last;
};

// The range of (tile, block) that multiprocessor `index` takes when columns are divided.
__device__ __forceinline__ int range_begin(const WgmmaArguments& a, int index) {
  return static_cast<int>(static_cast<uint32_t>(a.tiles) * static_cast<uint32_t>(a.blocks) *
                          static_cast<uint32_t>(index) / gridDim.x);
}

class Segments {
 public:
  __device__ __forceinline__ explicit Segments(const WgmmaArguments& a) : a_(a) {
    const auto index = static_cast<int>(blockIdx.x);
    at_ = a.divided ? range_begin(a, index) : index * a.blocks;
    end_ = a.divided ? range_begin(a, index + 1) : a.tiles * a.blocks;
  }
  __device__ __forceinline__ bool next(Segment& s) {
    if (at_ >= end_) return false;
    s.tile = at_ / a_.blocks;
    s.first = at_ - s.tile * a_.blocks;
    s.last = min(a_.blocks, s.first + end_ - at_);
    at_ += a_.divided ? s.last - s.first : static_cast<int>(gridDim.x) * a_.blocks;
    return true;
  }

 private:
  const WgmmaArguments& a_;
  int at_;
  int end_;
};

// ---- shared memory: stages of inputs and their scales; of each warp, stages of codes

template <Kind kKind, int kInputs, int kGroups>
struct Layout {
  static constexpr int kInputBytes = kInputs * kColumns;  // of a block
  static constexpr bool kSigned = kInputs == kMostInputs;
  static constexpr int kScaleBytes = (kSigned ? 4 : 8) * kInputs;  // starts behind the scales
  static constexpr int kScalesAt = kStageBlocks * kInputBytes;
  static constexpr int kStageBytes = (kScalesAt + kStageBlocks * kScaleBytes + 1023) / 1024 * 1024;

  static constexpr int kWarps = kGroups * kGroupThreads / kWarp;
  static constexpr int kRowGroups = 4;                         // of a warp
  static constexpr int kVectorBytes = vectors_of(kKind) * 64;  // of a row group and block
  // 64 bytes more, so that two row groups lie in different banks.
  static constexpr int kCodeStride = kStageBlocks * kVectorBytes + 64;
  static constexpr int kCodeBytes = kRowGroups * kCodeStride;  // of a stage
  static constexpr int kCodeRoom = kMostCodeBytes / (kWarps * kCodeBytes);
  static constexpr int kCodeStages = kCodeRoom < kMostCodeStages ? kCodeRoom : kMostCodeStages;
  static constexpr int kAllCodeBytes = kWarps * kCodeStages * kCodeBytes;

  static constexpr int kRoom = (kSharedBytes - kAllCodeBytes) / kStageBytes;
  static constexpr int kStages = kRoom < kMostStages ? kRoom : kMostStages;
  static constexpr int kCodesAt = kStages * kStageBytes;
  static constexpr int kBytes = kCodesAt + kAllCodeBytes;
  static_assert(kStages >= 2 && kCodeStages >= 2);
};

struct Barriers {
  uint64_t full[kMostStages];
  uint64_t empty[kMostStages];
};

template <int kStages>
struct Turn {
  int stage = 0;
  int parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// By one warp: inputs and their scales.
template <class L, int kInputs>
__device__ __forceinline__ void bring(const WgmmaArguments& a, uint8_t* base, Barriers& barriers) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  Turn<L::kStages> turn;
  Segments segments(a);
  Segment s;
  while (segments.next(s)) {
    const int first_input = s.tile % a.input_tiles * kInputs;
    for (int block = s.first; block < s.last; block += kStageBlocks) {
      const int blocks = min(kStageBlocks, s.last - block);
      uint64_t* full = &barriers.full[turn.stage];
      barrier_wait(&barriers.empty[turn.stage], turn.parity ^ 1);
      if (lane == 0) barrier_expect(full, blocks * (L::kInputBytes + L::kScaleBytes));
      __syncwarp();
      if (lane < blocks) {
        uint8_t* stage = base + turn.stage * L::kStageBytes;
        const int64_t from = (block + lane) * a.x.tiled_rows;
        copy_bulk(stage + lane * L::kInputBytes, a.x.q + (from + first_input) * kColumns,
                  L::kInputBytes, full);
        copy_bulk(stage + L::kScalesAt + lane * L::kScaleBytes,
                  a.x.tile_scale + 2 * from + first_input, L::kScaleBytes, full);
      }
      turn.next();
    }
  }
}

// What a warp asks for: codes of its sixteen rows, a stage at a time, through all its segments.
// Every ask() closes a group of copies, an empty one past the last stage.
template <class L, Kind kKind>
class Asking {
 public:
  static constexpr int kVectors = vectors_of(kKind);
  static constexpr int kGroupVectors = kVectors * kStageBlocks * 4;  // of a row group and stage
  static_assert(kGroupVectors * L::kRowGroups == kVectors * kWarp);

  __device__ __forceinline__ Asking(const WgmmaArguments& a, uint8_t* codes, int tile_rows)
      : a_(a), segments_(a), codes_(codes), tile_rows_(tile_rows) {
#pragma unroll 1
    for (int i = 0; i + 1 < L::kCodeStages; ++i) ask();
  }

  __device__ __forceinline__ void ask() {
    if (left_ <= 0) begin_segment();
    if (left_ > 0) {
      const int lane = static_cast<int>(threadIdx.x) % kWarp;
      uint8_t* to = codes_ + stage_ * L::kCodeBytes;
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        const int id = lane + i * kWarp;
        const int group = id / kGroupVectors;
        const int vector = id % kGroupVectors;
        if (vector < left_ * (kVectors * 4)) {
          copy_vector(to + group * L::kCodeStride + vector * 16, at_ + from_[i]);
        }
      }
      at_ += kStageBlocks * L::kVectorBytes;
      left_ -= kStageBlocks;
    }
    stage_ = stage_ + 1 == L::kCodeStages ? 0 : stage_ + 1;
    close_copies();
  }

 private:
  __device__ __forceinline__ void begin_segment() {
    Segment s;
    if (!segments_.next(s)) return;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int row = s.tile / a_.input_tiles * tile_rows_ + warp * (L::kRowGroups * 4);
    const auto groups = static_cast<int>(codec::padded_rows(a_.w.rows) / codec::kGroupRows);
    const int first_group = min(row / codec::kGroupRows, groups - 1);
    const int64_t group_bytes = a_.w.blocks * L::kVectorBytes;
    at_ = a_.w.codes + first_group * group_bytes + s.first * L::kVectorBytes;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int id = lane + i * kWarp;
      const int group = min(id / kGroupVectors, groups - 1 - first_group);  // of all or of the last
      from_[i] = static_cast<int>(group * group_bytes) + id % kGroupVectors * 16;
    }
    left_ = s.last - s.first;
  }

  const WgmmaArguments& a_;
  Segments segments_;
  uint8_t* codes_;  // of the warp
  const uint8_t* at_ = nullptr;
  int tile_rows_;
  int from_[kVectors];
  int left_ = 0;  // blocks
  int stage_ = 0;
};

}  // namespace upg::kernels::cuda
