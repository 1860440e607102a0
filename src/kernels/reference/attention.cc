// Attention over the pages of a cache, with a softmax that runs along: for each query and head a
// running maximum and sum, everything gathered so far scaled down when the maximum rises (Milakov
// and Gimelshein 2018). A page is turned into floats once for all queries and heads of the task.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/float16.h"
#include "kernels/reference/dot.h"
#include "kernels/reference/ops.h"

namespace upg::kernels::reference {
namespace {

constexpr float kLargestF16 = 65504.0f;

void store_q8(std::byte* to, const float* x) {
  float amax = 0;
  for (int i = 0; i < kQ8Values; ++i) amax = std::max(amax, std::fabs(x[i]));
  const uint16_t bits = base::float_to_f16(std::min(amax / 127.0f, kLargestF16));
  const float scale = base::f16_to_float(bits);
  std::memcpy(to, &bits, sizeof(bits));
  for (int i = 0; i < kQ8Values; ++i) {
    // The rounded scale may be a little too small for the largest value. In this order a NaN
    // becomes 127.
    const float q = std::max(-127.0f, std::min(127.0f, std::nearbyint(x[i] / scale)));
    to[2 + i] = static_cast<std::byte>(static_cast<int8_t>(scale > 0 ? q : 0.0f));
  }
}

void load_q8(const std::byte* from, float* x) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof(bits));
  const float scale = base::f16_to_float(bits);
  for (int i = 0; i < kQ8Values; ++i) {
    x[i] = scale * static_cast<float>(static_cast<int8_t>(from[2 + i]));
  }
}

void load_kv(const std::byte* row, int head_dim, KvType type, float* x) {
  if (type == KvType::kF32) std::memcpy(x, row, sizeof(float) * static_cast<size_t>(head_dim));
  for (int64_t i = 0; type == KvType::kF16 && i < head_dim; ++i) {
    uint16_t bits;
    std::memcpy(&bits, row + 2 * i, sizeof(bits));
    x[i] = base::f16_to_float(bits);
  }
  for (int64_t i = 0; type == KvType::kQ8 && i < head_dim; i += kQ8Values) {
    load_q8(row + i / kQ8Values * kQ8Bytes, x + i);
  }
}

// One page of one kv head as floats: `slots` tokens of it.
void load_page(const std::byte* cache, KvType type, const AttentionTask& task, int page, int slots,
               float* out) {
  const auto row_bytes = static_cast<int64_t>(kv_row_bytes(type, task.head_dim));
  const int64_t block = static_cast<int64_t>(task.pages[page]) * task.kv_heads + task.kv_head;
  const std::byte* rows = cache + block * kPageTokens * row_bytes;
  for (int64_t slot = 0; slot < slots; ++slot) {
    load_kv(rows + slot * row_bytes, task.head_dim, type, out + slot * task.head_dim);
  }
}

int first_visible(const AttentionTask& task, int token) {
  const int position = task.position + token;
  return task.window > 0 ? std::max(0, position - task.window + 1) : 0;
}

struct Scratch {
  explicit Scratch(const AttentionTask& task)
      : k(task.scratch),
        v(k + int64_t{kPageTokens} * task.head_dim),
        maximum(v + int64_t{kPageTokens} * task.head_dim),
        sum(maximum + int64_t{kAttentionTokens} * task.group) {}

  float* k;        // [kPageTokens, head_dim], the page at hand
  float* v;        // likewise
  float* maximum;  // [tokens, group]
  float* sum;      // [tokens, group]
};

// One query and head against the positions first ... last of the page at hand.
void attend(const AttentionTask& task, const Scratch& page, int token, int head, int first,
            int last) {
  const int64_t dim = task.head_dim;
  const float* q = task.q + token * task.q_stride + head * dim;
  float* out = task.out + token * task.out_stride + head * dim;
  float& maximum = page.maximum[token * task.group + head];
  float& sum = page.sum[token * task.group + head];

  float scores[kPageTokens];
  float highest = maximum;
  for (int slot = first; slot <= last; ++slot) {
    scores[slot] = dot(q, page.k + slot * dim, dim) * task.scale;
    highest = std::max(highest, scores[slot]);
  }
  const float shrink = std::exp(maximum - highest);
  maximum = highest;
  sum *= shrink;
  for (int64_t i = 0; i < dim; ++i) out[i] *= shrink;
  for (int slot = first; slot <= last; ++slot) {
    const float weight = std::exp(scores[slot] - highest);
    sum += weight;
    for (int64_t i = 0; i < dim; ++i) out[i] += weight * page.v[slot * dim + i];
  }
}

void attend_page(const AttentionTask& task, const Scratch& scratch, int page) {
  const int begin = page * kPageTokens;
  const int slots = std::min(kPageTokens, task.position + task.tokens - begin);
  load_page(task.cache.k, task.cache.k_type, task, page, slots, scratch.k);
  load_page(task.cache.v, task.cache.v_type, task, page, slots, scratch.v);
  for (int token = 0; token < task.tokens; ++token) {
    const int first = std::max(first_visible(task, token) - begin, 0);
    const int last = std::min(task.position + token - begin, kPageTokens - 1);
    if (first > last) continue;
    for (int head = 0; head < task.group; ++head) attend(task, scratch, token, head, first, last);
  }
}

// Calls body(out, index) for each query and head; index into Scratch::maximum and sum.
template <class Body>
void for_each_output(const AttentionTask& task, const Body& body) {
  for (int token = 0; token < task.tokens; ++token) {
    for (int head = 0; head < task.group; ++head) {
      body(task.out + token * task.out_stride + static_cast<int64_t>(head) * task.head_dim,
           token * task.group + head);
    }
  }
}

}  // namespace

void store_kv(std::byte* row, const float* x, int head_dim, KvType type) noexcept {
  if (type == KvType::kF32) std::memcpy(row, x, sizeof(float) * static_cast<size_t>(head_dim));
  for (int64_t i = 0; type == KvType::kF16 && i < head_dim; ++i) {
    const uint16_t bits = base::float_to_f16(x[i]);
    std::memcpy(row + 2 * i, &bits, sizeof(bits));
  }
  for (int64_t i = 0; type == KvType::kQ8 && i < head_dim; i += kQ8Values) {
    store_q8(row + i / kQ8Values * kQ8Bytes, x + i);
  }
}

void attention(const AttentionTask& task) noexcept {
  const Scratch scratch(task);
  for_each_output(task, [&](float* out, int index) {
    std::fill_n(out, task.head_dim, 0.0f);
    scratch.maximum[index] = -std::numeric_limits<float>::infinity();
    scratch.sum[index] = 0;
  });
  const int first = std::max(first_visible(task, 0) / kPageTokens, task.first_page);
  const int last = std::min((task.position + task.tokens - 1) / kPageTokens, task.end_page - 1);
  for (int page = first; page <= last; ++page) attend_page(task, scratch, page);
  if (task.unfinished != nullptr) {
    const int count = task.tokens * task.group;
    std::copy_n(scratch.maximum, count, task.unfinished);
    std::copy_n(scratch.sum, count, task.unfinished + count);
    return;
  }
  for_each_output(task, [&](float* out, int index) {
    for (int i = 0; i < task.head_dim; ++i) out[i] /= scratch.sum[index];
  });
}

}  // namespace upg::kernels::reference
