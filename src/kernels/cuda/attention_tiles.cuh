// Sixteen positions of one kv head, as they lie in the cache, attended to by a warp that has them
// in shared memory, for each type of the cache. Keys, and values turned over, are the left operands
// of the tensor cores' products, so that heads are columns. Queries and weights keep 22 bits as
// sums of two halves (attention_half.cuh): four heads' high parts are columns 0 to 3, their low
// parts 4 to 7, and one product takes both.
#pragma once

#include "kernels/cuda/attention_half.cuh"

namespace upg::kernels::cuda {

// The places of a tile whose positions are attended to: [first, last), which may lie outside it.
struct SeenPlaces {
  int first;
  int last;

  __device__ __forceinline__ bool has(int place) const { return place >= first && place < last; }
  __device__ __forceinline__ bool all() const { return first <= 0 && last >= kTilePositions; }
};

constexpr int kSetHeads = 4;    // of a set of columns
constexpr int kValueSteps = 8;  // products of a tile's values: 16 dimensions each

// Of a lane: its part of the scores' right operands.
template <int kSets>
struct SetQueries {
  uint32_t words[kSets][kHalfSteps][2];

  __device__ __forceinline__ explicit SetQueries(const QueryTile& q) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const bool high = lane < 4 * kSetHeads;
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
#pragma unroll
      for (int step = 0; step < kHalfSteps; ++step) {
        const uint4 part = q.part[step][4 * kSetHeads * set + lane % (4 * kSetHeads)];
        words[set][step][0] = high ? part.x : part.z;
        words[set][step][1] = high ? part.y : part.w;
      }
    }
  }
};

// Of a lane: what the warp has gathered. Its heads are 4 set + lane % 2 * 2 and the next one: c % 2
// of four elements c of a product, whose rows are c / 2 of two.
template <int kSets>
struct SetSums {
  float maximum[kSets][2];  // of scores that are not scaled yet
  float sum[kSets][2];      // of weights of this lane's positions
  float out[kSets][kValueSteps][4] = {};

  __device__ __forceinline__ SetSums() {
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        maximum[set][h] = -INFINITY;
        sum[set][h] = 0;
      }
    }
  }
};

// The lane's scores of places lane / 4 and 8 further become weights. seen: at least one place.
// factor: of scores, times log2(e). keep: what sums of weighted values are to be multiplied by.
template <int kSets>
__device__ __forceinline__ void weigh(float (&score)[kSets][4], const SeenPlaces& seen,
                                      float factor, SetSums<kSets>& sums, float (&keep)[kSets][2]) {
  const int place = static_cast<int>(threadIdx.x) % kWarp / 4;
  const bool there[2] = {seen.has(place), seen.has(place + 8)};
#pragma unroll
  for (int set = 0; set < kSets; ++set) {
    float(&x)[4] = score[set];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      x[c] += __shfl_xor_sync(kAllLanes, x[c], 2);  // high and low parts
      if (!there[c / 2]) x[c] = -INFINITY;
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float highest = fmaxf(x[h], x[h + 2]);
#pragma unroll
      for (int mask = 4; mask < kWarp; mask *= 2) {
        highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, mask));
      }
      float& maximum = sums.maximum[set][h];
      highest = fmaxf(highest, maximum);
      const float base = highest * factor;  // finite: a place is seen
      keep[set][h] = exp2f(fmaf(maximum, factor, -base));
      maximum = highest;
      x[h] = exp2f(fmaf(x[h], factor, -base));
      x[h + 2] = exp2f(fmaf(x[h + 2], factor, -base));
      sums.sum[set][h] = fmaf(sums.sum[set][h], keep[set][h], x[h] + x[h + 2]);
    }
  }
}

__device__ __forceinline__ uint32_t transposed(uint32_t matrix) {
  uint32_t out;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(matrix));
  return out;
}

// Weights as the right operand of the values' products.
__device__ __forceinline__ void weight_columns(const float (&x)[4], uint32_t (&b)[2]) {
  const bool high = static_cast<int>(threadIdx.x) % 4 < 2;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    uint32_t parts[2];
    split_halves(x[2 * n], x[2 * n + 1], parts[0], parts[1]);
    b[n] = transposed(high ? parts[0] : parts[1]);
  }
}

// Adds the values' product `step` of 16 dimensions. a: left operand; b: weight_columns().
template <int kSets>
__device__ __forceinline__ void add_product(const uint32_t (&a)[4], const uint32_t (&b)[kSets][2],
                                            const float (&keep)[kSets][2], int step,
                                            SetSums<kSets>& sums) {
#pragma unroll
  for (int set = 0; set < kSets; ++set) {
    float part[4] = {};
    mma_halves(part, a, b[set][0], b[set][1]);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      float& out = sums.out[set][step][c];
      out = fmaf(out, keep[set][c % 2], part[c]);
    }
  }
}

// k, v: [kTilePositions, row_bytes]. Keys of places that are not seen may be anything, their values
// are zero.
struct F16Tiles {
  static constexpr KvType kType = KvType::kF16;
  static constexpr int kMostRowBytes = 2 * kFastHeadDim;
  static constexpr float kDown = 1.0f;  // what sums of weighted values are multiplied by at last

  // Of the four dimensions of products 2 i and 2 i + 1 in the lane's sums.
  static __device__ __forceinline__ int first_dim(int i, int lane) { return lane / 4 * 16 + 4 * i; }

  template <int kSets>
  static __device__ __forceinline__ void add(const uint8_t* k, const uint8_t* v, int row_bytes,
                                             const SetQueries<kSets>& q, const SeenPlaces& seen,
                                             float factor, SetSums<kSets>& sums) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    float weights[kSets][4] = {};
    k += lane / 4 * row_bytes;
#pragma unroll
    for (int i = 0; i < kHalfSteps / 2; ++i) {
      const uint4 x = vector(k, row_bytes, 4 * i + lane % 4);
      const uint4 y = vector(k + 8 * row_bytes, row_bytes, 4 * i + lane % 4);
#pragma unroll
      for (int set = 0; set < kSets; ++set) {
        const auto& words = q.words[set];
        mma_halves(weights[set], {x.x, y.x, x.y, y.y}, words[2 * i][0], words[2 * i][1]);
        mma_halves(weights[set], {x.z, y.z, x.w, y.w}, words[2 * i + 1][0], words[2 * i + 1][1]);
      }
    }
    float keep[kSets][2];
    weigh(weights, seen, factor, sums, keep);
    uint32_t columns[kSets][2];
#pragma unroll
    for (int set = 0; set < kSets; ++set) weight_columns(weights[set], columns[set]);
    v += lane % 4 * 2 * row_bytes;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      uint4 x[4];
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        x[n] = vector(v + (n % 2 + n / 2 * 8) * row_bytes, row_bytes, lane / 4 * 2 + i);
      }
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const uint32_t words[4] = {word_of(x[0], w), word_of(x[1], w), word_of(x[2], w),
                                   word_of(x[3], w)};
        add_product<kSets>({prmt(words[0], words[1], 0x5410), prmt(words[0], words[1], 0x7632),
                            prmt(words[2], words[3], 0x5410), prmt(words[2], words[3], 0x7632)},
                           columns, keep, 4 * i + w, sums);
      }
    }
  }

 private:
  static __device__ __forceinline__ uint4 vector(const uint8_t* row, int row_bytes, int index) {
    if (16 * index >= row_bytes) return {0, 0, 0, 0};
    return *reinterpret_cast<const uint4*>(row + 16 * index);
  }
};

// Integers become halves, which they are exactly; scores of 32 dimensions, a block of the row, are
// multiplied by their scale, and weights by that of the values.
struct Q8Tiles {
  static constexpr KvType kType = KvType::kQ8;
  static constexpr int kMostRowBytes = kFastHeadDim / kQ8Values * kQ8Bytes;
  static constexpr float kUp = 256.0f;  // small weights times scales keep their bits as halves
  static constexpr float kDown = 1.0f / kUp;

  static __device__ __forceinline__ int first_dim(int i, int lane) {
    return kQ8Values * i + lane / 4 * 4;
  }

  template <int kSets>
  static __device__ __forceinline__ void add(const uint8_t* k, const uint8_t* v, int row_bytes,
                                             const SetQueries<kSets>& q, const SeenPlaces& seen,
                                             float factor, SetSums<kSets>& sums) {
    float weights[kSets][4] = {};
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      if (b * kQ8Bytes < row_bytes) add_scores(k + b * kQ8Bytes, row_bytes, q, b, weights);
    }
    float keep[kSets][2];
    weigh(weights, seen, factor, sums, keep);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      if (b * kQ8Bytes < row_bytes) {
        add_values(v + b * kQ8Bytes, row_bytes, b, weights, keep, sums);
      }
    }
  }

 private:
  static constexpr int kBlocks = kFastHeadDim / kQ8Values;

  static __device__ __forceinline__ float scale_of(const uint8_t* block) {
    return half_bits_to_float(*reinterpret_cast<const uint16_t*>(block));
  }
  // Bytes 0 and 1, or 2 and 3 (order 0x4342), as halves. word: as load_words() gives them.
  static __device__ __forceinline__ uint32_t halves(uint32_t word, uint32_t order) {
    const uint32_t bits = prmt(word, 0x64646464u, order);  // 1024 + 128 + x
    const __half2 x = __hsub2(*reinterpret_cast<const __half2*>(&bits), __float2half2_rn(1152.0f));
    return *reinterpret_cast<const uint32_t*>(&x);
  }
  // Integers plus 128. at: a multiple of two.
  template <int kWords>
  static __device__ __forceinline__ void load_words(const uint8_t* at, uint32_t (&words)[kWords]) {
    const auto shift = static_cast<uint32_t>(__cvta_generic_to_shared(at)) % 4;
    const auto* from = reinterpret_cast<const uint32_t*>(at - shift);
    uint32_t before = from[0];
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const uint32_t next = from[i + 1];
      words[i] = __funnelshift_r(before, next, 8 * shift) ^ 0x80808080u;
      before = next;
    }
  }

  template <int kSets>
  static __device__ __forceinline__ void add_scores(const uint8_t* block, int row_bytes,
                                                    const SetQueries<kSets>& q, int b,
                                                    float (&score)[kSets][4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    uint32_t words[2][2];
    float scale[2];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const uint8_t* row = block + (lane / 4 + 8 * n) * row_bytes;
      scale[n] = scale_of(row);
      load_words(row + 2 + 8 * (lane % 4), words[n]);
    }
    float part[kSets][4] = {};
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const uint32_t a[4] = {halves(words[0][step], 0x4140), halves(words[1][step], 0x4140),
                             halves(words[0][step], 0x4342), halves(words[1][step], 0x4342)};
#pragma unroll
      for (int set = 0; set < kSets; ++set) {
        const auto& columns = q.words[set][2 * b + step];
        mma_halves(part[set], a, columns[0], columns[1]);
      }
    }
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        score[set][c] = fmaf(part[set][c], scale[c / 2], score[set][c]);
      }
    }
  }

  template <int kSets>
  static __device__ __forceinline__ void add_values(const uint8_t* block, int row_bytes, int b,
                                                    const float (&weights)[kSets][4],
                                                    const float (&keep)[kSets][2],
                                                    SetSums<kSets>& sums) {
    constexpr float kMostHalf = 65504.0f;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const float scale[2] = {scale_of(block + lane / 4 * row_bytes) * kUp,
                            scale_of(block + (lane / 4 + 8) * row_bytes) * kUp};
    uint32_t columns[kSets][2];
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
      float x[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) x[c] = fminf(weights[set][c] * scale[c / 2], kMostHalf);
      weight_columns(x, columns[set]);
    }
    uint32_t words[4][1];  // four dimensions of positions lane % 4 * 2, one more, 8 more, 9 more
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int row = lane % 4 * 2 + n % 2 + n / 2 * 8;
      load_words(block + row * row_bytes + 2 + lane / 4 * 4, words[n]);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t order = i == 0 ? 0x5140 : 0x7362;
      const uint32_t x = prmt(words[0][0], words[1][0], order);
      const uint32_t y = prmt(words[2][0], words[3][0], order);
      add_product<kSets>(
          {halves(x, 0x4140), halves(x, 0x4342), halves(y, 0x4140), halves(y, 0x4342)}, columns,
          keep, 2 * b + i, sums);
    }
  }
};

// to(head): where the head's part is to be, as store_gathered() leaves it.
template <class Tiles, int kSets, class To>
__device__ __forceinline__ void store_sums(SetSums<kSets>& sums, float scale, const To& to) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int set = 0; set < kSets; ++set) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float& sum = sums.sum[set][h];
#pragma unroll
      for (int mask = 4; mask < kWarp; mask *= 2) sum += __shfl_xor_sync(kAllLanes, sum, mask);
    }
#pragma unroll
    for (int step = 0; step < kValueSteps; ++step) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        float& out = sums.out[set][step][c];
        out = (out + __shfl_xor_sync(kAllLanes, out, 2)) * Tiles::kDown;
      }
    }
    if (lane % 4 >= 2) continue;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float* part = to(kSetHeads * set + lane % 4 * 2 + h);
#pragma unroll
      for (int i = 0; i < kValueSteps / 2; ++i) {
        const auto& x = sums.out[set][2 * i];
        const auto& y = sums.out[set][2 * i + 1];
        *reinterpret_cast<float4*>(part + Tiles::first_dim(i, lane)) = {x[h], x[h + 2], y[h],
                                                                        y[h + 2]};
      }
      if (lane >= 4) continue;
      part[kFastHeadDim] = sums.maximum[set][h] * scale;
      part[kFastHeadDim + 1] = sums.sum[set][h];
    }
  }
}

}  // namespace upg::kernels::cuda
