// The row groups of a block's share in the token kernel: its warps divide all their chunks of eight
// blocks evenly, a range each. A lane has one row of every eighth block.
#pragma once

#include "kernels/cuda/codes.cuh"
#include "kernels/cuda/token_shared.cuh"

namespace upg::kernels::cuda {

// A warp's range of chunks, a piece of a row group at a time.
struct Range {
  int next;  // chunk
  int end;
  int group;  // of the next chunk, in the block's share
  int chunk;  // of this group

  __device__ __forceinline__ void begin(const TokenPhase& phase) {
    const int group_chunks = chunks_of(phase.blocks);
    next = min(warp_index() * phase.warp_chunks, phase.chunks);
    end = min(next + phase.warp_chunks, phase.chunks);
    group = static_cast<int>(static_cast<unsigned>(next) / static_cast<unsigned>(group_chunks));
    chunk = next - group * group_chunks;
  }
  // The blocks of the piece that begins at `next`; to be called while next < end.
  __device__ __forceinline__ int blocks(const TokenPhase& phase) const {
    return min(phase.blocks - chunk * kChunk, (end - next) * kChunk);
  }
  __device__ __forceinline__ void go_on(const TokenPhase& phase) {
    next += chunks_of(phase.blocks) - chunk;
    chunk = 0;
    ++group;
  }
};

// A chunk lies in a slot as in memory, but that 64 bytes of two blocks change places where both
// would meet in the same banks.
__device__ __forceinline__ int slot_offset(int offset, int vectors) {
  if (vectors == 4) return offset ^ (offset >> 8 & 1) << 6;
  if (vectors == 2) return offset ^ (offset >> 7 & 1) << 6;
  return offset;
}

// What a warp asks for: the chunks of its range, one after the other. Every ask() closes a group of
// copies, an empty one past the last chunk.
struct Asking {
  const TokenPhase* phase;
  uint8_t* warp_slots;
  uint8_t* slots;     // the lane's place in them
  const uint8_t* at;  // the lane's next vector
  int bytes;          // of the piece, from the next chunk on
  int chunk_bytes;
  int slot;
  Range range;

  __device__ __forceinline__ void begin(const Memory& m, const TokenPhase& described) {
    phase = &described;
    warp_slots = m.slots + warp_index() * (kSlots * kSlotBytes);
    slots = warp_slots;
    at = nullptr;
    bytes = 0;
    chunk_bytes = 0;
    slot = 0;
    range.begin(described);
    ask();
  }

  // All but one slot are asked for. After begin().
  __device__ __forceinline__ void fill() {
#pragma unroll 1
    for (int i = 2; i < kSlots; ++i) ask();
  }

  __device__ __forceinline__ void begin_piece() {
    const int offset = lane_index() * 16;
    const Where where = locate(*phase, range.group);
    const TokenPart& part = phase->part[where.part];
    const int vectors = vectors_of(part.kind);
    const int64_t block = static_cast<int64_t>(where.group) * phase->blocks + range.chunk * kChunk;
    at = part.codes + block * (64 * vectors) + offset;
    bytes = range.blocks(*phase) * (64 * vectors);
    chunk_bytes = kChunk * 64 * vectors;
    slots = warp_slots + slot_offset(offset, vectors);
    range.go_on(*phase);
  }

  __device__ __forceinline__ void ask() {
    if (bytes <= 0 && range.next < range.end) begin_piece();
    const int limit = min(bytes, chunk_bytes) - lane_index() * 16;
    uint8_t* to = slots + slot * kSlotBytes;
#pragma unroll
    for (int v = 0; v < kMostVectors; ++v) {
      if (512 * v < limit) copy_vector(to + 512 * v, at + 512 * v);
    }
    at += chunk_bytes;
    bytes -= chunk_bytes;
    slot = slot + 1 == kSlots ? 0 : slot + 1;
    close_copies();
  }
};

struct PieceDot {
  const Memory& m;
  const TokenPart& part;
  int group;  // of the part
  int first;  // block
  int blocks;
  Asking& asking;
  int& slot;  // of the next chunk
  float& result;

  template <Kind kKind, bool kTwo>
  __device__ __forceinline__ void operator()() const {
    if constexpr (vectors_of(kKind) <= kMostVectors) run<kKind, kTwo>();
  }

  template <Kind kKind, bool kTwo>
  __device__ __forceinline__ void run() const {
    constexpr int kVectors = vectors_of(kKind);
    const int lane = lane_index();
    const Palette palette = part.palette;
    const float row_scale = __ldg(part.scale + 4 * group + lane % 4);
    // Where the even and the odd vectors of the lane lie in a slot (slot_offset).
    const int turn = kVectors % 2 == 0 ? lane / 4 % 2 * 64 : 0;
    const uint8_t* own = asking.warp_slots + lane / 4 * (64 * kVectors) + lane % 4 * 16;
    const uint8_t* act = m.act + (first + lane / 4) * kBlockStride;
    float total = 0;
#pragma unroll 1
    for (int left = blocks; left > 0; left -= kChunk, act += kChunk * kBlockStride) {
      // The lanes copy for one another: all see this chunk, and have seen the one whose slot is
      // asked for next.
      wait_copies<kSlots - 2>();
      __syncwarp();
      asking.ask();
      if (lane / 4 < left) {
        uint32_t words[kVectors][4];
        const uint8_t* from = own + slot * kSlotBytes;
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
          const uint4 vector =
              *reinterpret_cast<const uint4*>(from + v * 64 + (v % 2 == 0 ? turn : -turn));
          words[v][0] = vector.x, words[v][1] = vector.y;
          words[v][2] = vector.z, words[v][3] = vector.w;
        }
        const auto* q = reinterpret_cast<const uint4*>(act);
        const auto* scale = reinterpret_cast<const float*>(act) + kScaleWord;
        const int sum = reinterpret_cast<const int32_t*>(act)[kSumWord];
        const int dot = dot_block<kKind, kTwo>(words, palette, q, sum);
        total = __fadd_rn(total, __fmul_rn(static_cast<float>(dot), *scale));
      }
      slot = slot + 1 == kSlots ? 0 : slot + 1;
    }
#pragma unroll
    for (int mask = 4; mask < kWarp; mask *= 2) total += __shfl_xor_sync(kAllLanes, total, mask);
    result = __fmul_rn(total, row_factor<kKind>(row_scale));
  }
};

// asking: has begun with this phase and filled the slots.
__device__ __forceinline__ void multiply_range(const Memory& m, const TokenPhase& phase,
                                               Asking& asking) {
  const int lane = lane_index();
  int slot = 0;
  Range range;
  range.begin(phase);
  while (range.next < range.end) {
    const Where where = locate(phase, range.group);
    const TokenPart& part = phase.part[where.part];
    float result = 0;
    dispatch_kind(part.kind, part.two_palettes != 0,
                  PieceDot{m, part, where.group, range.chunk * kChunk, range.blocks(phase), asking,
                           slot, result});
    if (lane < 4) m.partial[(warp_index() + range.group) * 4 + lane] = result;
    range.go_on(phase);
  }
}

// Row r of row group `group` of the block's share.
__device__ __forceinline__ float row_sum(const Memory& m, const TokenPhase& phase, int group,
                                         int r) {
  const int group_chunks = chunks_of(phase.blocks);
  const int first = warp_of(group * group_chunks, phase.warp_share);
  const int last = warp_of(group * group_chunks + group_chunks - 1, phase.warp_share);
  const float* partial = m.partial + (first + group) * 4 + r;
  float sum = 0;
#pragma unroll 1
  for (int warp = first; warp <= last; ++warp, partial += 4) sum += *partial;
  return sum;
}

}  // namespace upg::kernels::cuda
