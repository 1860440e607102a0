// The row groups of a block's share in the token kernel: its warps divide all their chunks of eight
// blocks evenly, a range each.
#pragma once

#include "kernels/cuda/token_dot.cuh"
#include "kernels/cuda/token_shared.cuh"

namespace upg::kernels::cuda {

// A warp's range of chunks, a piece of a row group at a time.
struct Range {
  int next;  // chunk
  int end;
  int group;  // of the next chunk, in the block's share
  int chunk;  // of this group

  __device__ __forceinline__ void begin(const TokenPhase& phase) {
    const int group_chunks = phase.group_chunks;
    const Span share = warp_range(phase.chunks, warp_index());
    next = share.begin;
    end = share.end;
    group = static_cast<int>(static_cast<unsigned>(next) / static_cast<unsigned>(group_chunks));
    chunk = next - group * group_chunks;
  }
  // Chunks of the piece that begins at `next`.
  __device__ __forceinline__ int chunks(const TokenPhase& phase) const {
    return min(phase.group_chunks - chunk, end - next);
  }
  __device__ __forceinline__ void go_on(const TokenPhase& phase) {
    next += phase.group_chunks - chunk;
    chunk = 0;
    ++group;
  }
};

// A chunk lies in a slot as in memory, but that 64 bytes of two blocks change places where both
// would meet in the same banks.
__device__ __forceinline__ int slot_offset(int offset, int block_bytes) {
  const int turn = (block_bytes & 64) == 0 ? offset & block_bytes : 0;  // of every second block
  return turn != 0 ? offset ^ 64 : offset;
}

__device__ __forceinline__ uint32_t next_slot(uint32_t slot) {
  return slot == (kSlots - 1) * kSlotBytes ? 0 : slot + kSlotBytes;
}

// What a warp asks for: the chunks of its range, one after the other. Every ask() closes a group of
// copies, an empty one past the last chunk.
struct Asking {
  const TokenPhase* phase;
  uint32_t first_slot;  // the warp's, in shared memory
  uint32_t to;          // the lane's place in its first slot
  uint32_t slot;        // offset of the next chunk's slot, before that of the oldest
  const uint8_t* at;    // the lane's next vector
  int remaining;        // bytes of the piece from there on, as far as they are copied
  int chunk_bytes;
  int chunk_end;  // of the bytes of a chunk, from the lane's first vector on
  int chunks;     // of the piece
  Range range;

  __device__ __forceinline__ void begin(const Memory& m, const TokenPhase& described) {
    phase = &described;
    first_slot =
        static_cast<uint32_t>(__cvta_generic_to_shared(m.slots + warp_index() * kWarpSlotsBytes));
    to = first_slot;
    slot = 0;
    at = nullptr;
    remaining = 0;
    chunk_bytes = 0;
    chunk_end = 0;
    chunks = 0;
    range.begin(described);
    ask_one(1);
  }
  // After begin(): all slots but one.
  __device__ __forceinline__ void fill() { ask_until(kSlots - 1); }

  // One more, but not more than `most` in all.
  __device__ __forceinline__ void ask_one(int most) {
    if (slot < static_cast<uint32_t>(most * kSlotBytes)) ask();
  }
  __device__ __forceinline__ void ask_until(int count) {
#pragma unroll 1
    while (slot < static_cast<uint32_t>(count * kSlotBytes)) ask();
  }

  __device__ __forceinline__ void ask() {
    if (chunks == 0 && range.next < range.end) begin_piece();
    copy_strip(to + slot, at, min(remaining, chunk_end));
    --chunks;
    at += static_cast<uint32_t>(chunk_bytes);
    remaining -= chunk_bytes;
    slot = next_slot(slot);
    close_copies();
  }

 private:
  __device__ __forceinline__ void begin_piece() {
    const int offset = lane_index() * 16;
    const Where where = locate(*phase, range.group);
    const TokenPart& part = phase->part[where.part];
    const int block_bytes = part.block_bytes;
    chunk_bytes = kChunk * block_bytes;
    chunk_end = chunk_bytes - offset;
    at = part.codes + static_cast<uint64_t>(static_cast<uint32_t>(where.group)) *
                          static_cast<uint32_t>(part.group_bytes);
    at += static_cast<uint32_t>(range.chunk * chunk_bytes + offset);
    chunks = range.chunks(*phase);
    remaining = part.group_bytes - range.chunk * chunk_bytes - offset;
    remaining = min(remaining, chunks * chunk_bytes - offset);
    to = first_slot + static_cast<uint32_t>(slot_offset(offset, block_bytes));
    range.go_on(*phase);
  }
};

// numbers: scale and sum of the inputs of the lane's blocks.
template <bool kTwo>
__device__ __forceinline__ float add_dots(float total, const ChunkDots& dots,
                                          const int2 (&numbers)[2]) {
  static_assert(kSumWord == kScaleWord + 1);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    // The bits of a float: no conversion, which the pipe of look-ups would have to do.
    const int start =
        numbers[i].y * ((kTwo ? -2 : -1) * kLevelOffset) + static_cast<int>(kTileStart);
    const float dot = __fsub_rn(__int_as_float(dots.dot(i) + start), kTileZero);
    total = __fadd_rn(total, __fmul_rn(dot, __int_as_float(numbers[i].x)));
  }
  return total;
}

// A warp's pieces, as long as they are of one part. Advances range.
struct PartDots {
  const Memory& m;
  const TokenPhase& phase;
  int index;  // of the part
  Range& range;
  Asking& asking;

  template <Kind kKind, bool kTwo>
  __device__ __forceinline__ void operator()() const {
    if constexpr (vectors_of(kKind) <= kMostVectors) run<kKind, kTwo>();
  }

  template <Kind kKind, bool kTwo>
  __device__ __forceinline__ void run() const {
    constexpr int kVectors = vectors_of(kKind);
    const int lane = lane_index();
    const Palette palette = phase.part[index].palette;
    const bool alone = phase.parts == 1;
    const uint8_t* codes = m.slots + warp_index() * kWarpSlotsBytes +
                           codes_block(lane) * (64 * kVectors) + codes_row(lane) * 16;
    const uint8_t* numbers = m.act + sums_block(lane) * kBlockStride + 4 * kScaleWord;
    float* partial = m.partial + warp_index() * kPartialFloats + sums_place(lane);
    ChunkInput input;
    input.begin(m.act, m.shared->zeros);
    do {
      const float total = sum_piece<kKind, kTwo>(palette, codes, numbers, input);
      if (has_sums(lane)) partial[range.group * kPartialFloats] = total;
      range.go_on(phase);
    } while (range.next < range.end && (alone || locate(phase, range.group).part == index));
  }

  // In lanes that have sums: of their row and their blocks of the piece. codes: of the lane in the
  // warp's first slot; numbers, input: of the first chunk of a row group.
  template <Kind kKind, bool kTwo>
  __device__ __forceinline__ float sum_piece(const Palette& palette, const uint8_t* codes,
                                             const uint8_t* numbers, ChunkInput input) const {
    constexpr int kVectors = vectors_of(kKind);
    // Where the even and the odd vectors of the lane lie in a slot (slot_offset).
    const int turn = kVectors % 2 == 0 ? lane_index() % 2 * 64 : 0;
    input.skip(range.chunk);
    numbers += range.chunk * (kChunk * kBlockStride);
    float total = 0;
    ChunkDots before;
    int2 block_numbers[2] = {};  // scale and sum of the inputs of the blocks before
#pragma unroll 1
    for (int left = range.chunks(phase); left > 0; --left) {
      // The lanes copy for one another: all see this chunk, and have seen the one whose slot is
      // asked for next.
      wait_copies<kSlots - 2>();
      __syncwarp();
      uint32_t words[kVectors][4];
      const uint8_t* from = codes + next_slot(asking.slot);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const uint4 vector =
            *reinterpret_cast<const uint4*>(from + v * 64 + (v % 2 == 0 ? turn : -turn));
        words[v][0] = vector.x, words[v][1] = vector.y;
        words[v][2] = vector.z, words[v][3] = vector.w;
      }
      asking.ask();
      // Of the chunk before: its last product takes its time.
      total = add_dots<kTwo>(total, before, block_numbers);
      before = dot_chunk<kKind, kTwo>(words, palette, reinterpret_cast<const uint4*>(input.at));
      block_numbers[0] = *reinterpret_cast<const int2*>(numbers);
      block_numbers[1] = *reinterpret_cast<const int2*>(numbers + kBlockStride);
      input.skip(1);
      numbers += kChunk * kBlockStride;
    }
    return add_dots<kTwo>(total, before, block_numbers);
  }
};

// asking: has begun with this phase and filled the slots.
__device__ __forceinline__ void multiply_range(const Memory& m, const TokenPhase& phase,
                                               Asking& asking) {
  Range range;
  range.begin(phase);
  while (range.next < range.end) {
    const int index = locate(phase, range.group).part;
    const TokenPart& part = phase.part[index];
    dispatch_kind(part.kind, part.two_palettes != 0, PartDots{m, phase, index, range, asking});
  }
}

// The parts that the sums of a row group of the block's share are in.
struct RowParts {
  int first;
  int count;
};

__device__ __forceinline__ RowParts row_parts(const TokenPhase& phase, int group) {
  const int group_chunks = phase.group_chunks;
  const int first = warp_of(group * group_chunks, phase.chunk_share);
  const int last = warp_of(group * group_chunks + group_chunks - 1, phase.chunk_share);
  return {first + group, last - first + 1};
}

// Of row r, without the row's factor.
__device__ __forceinline__ float row_sum(const Memory& m, const RowParts& parts, int r) {
  constexpr int kStep = kPartialFloats / 4;
  constexpr int kAtOnce = 3;  // hardly a row group has more
  const auto* partial =
      reinterpret_cast<const float4*>(m.partial + kPartialFloats * parts.first) + r;
  float4 lanes[kAtOnce] = {};
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) {
    if (i < parts.count) lanes[i] = partial[i * kStep];
  }
  float sum = 0;
#pragma unroll
  for (const float4& one : lanes) sum += (one.x + one.y) + (one.z + one.w);
#pragma unroll 1
  for (int i = kAtOnce; i < parts.count; ++i) {
    const float4 one = partial[i * kStep];
    sum += (one.x + one.y) + (one.z + one.w);
  }
  return sum;
}

}  // namespace upg::kernels::cuda
