// Attention over the pages of a cache, with a softmax that runs along as in reference/attention.cc:
// per query and head a maximum and a sum in the scratch, the unfinished output in `out`. For
// several tokens a page is turned into floats once for all queries and heads of the task; for a
// single one that would be most of the work (attention_one.h).
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER
#include "kernels/cpu/attention_one.h"
#include "kernels/cpu/kv_rows.h"
#include "kernels/cpu/math.h"

namespace upg::kernels::UPG_ISA {
namespace {

// `slots` tokens of one page of the task's kv head as floats.
void load_page(const std::byte* cache, KvType type, const AttentionTask& task, int page, int slots,
               float* x) {
  const int dim = task.head_dim;
  const int64_t bytes = kv_bytes(type, dim);
  const int64_t block = static_cast<int64_t>(task.pages[page]) * task.kv_heads + task.kv_head;
  const std::byte* row = cache + block * kPageTokens * bytes;
  for (int slot = 0; slot < slots; ++slot, row += bytes, x += dim) {
    load_kv_row(row, dim, type, x);
  }
}

// The products of q with four rows of k, `dim` apart.
inline Quad dot_four(const float* q, const float* k, int dim) {
  Floats a = zeros(), b = zeros(), c = zeros(), d = zeros();
  const auto step = [&](Floats x, Floats k0, Floats k1, Floats k2, Floats k3) {
    a = multiply_add(x, k0, a);
    b = multiply_add(x, k1, b);
    c = multiply_add(x, k2, c);
    d = multiply_add(x, k3, d);
  };
  for_vectors(
      dim,
      [&](int64_t i) {
        const float* at = k + i;
        step(load(q + i), load(at), load(at + dim), load(at + 2 * dim), load(at + 3 * dim));
      },
      [&](int64_t i, int n) {
        const float* at = k + i;
        step(load_part(q + i, n), load_part(at, n), load_part(at + dim, n),
             load_part(at + 2 * dim, n), load_part(at + 3 * dim, n));
      });
  return sums_of_four(a, b, c, d);
}

// Scores and then weights of a page's slots.
struct Weights {
  float at[kPageTokens];
  int first;  // slots first ... last are seen
  int last;
};

// out[0, kCount * kLanes) = out * shrink + sum over the slots of weight * v
template <int kCount>
inline void gather(float* out, float shrink, const Weights& w, const float* v, int dim) {
  Floats sums[kCount];
  for (int i = 0; i < kCount; ++i) sums[i] = load(out + i * kLanes) * splat(shrink);
  for (int slot = w.first; slot <= w.last; ++slot) {
    const float* row = v + slot * dim;
    const Floats weight = splat(w.at[slot]);
    for (int i = 0; i < kCount; ++i) {
      sums[i] = multiply_add(weight, load(row + i * kLanes), sums[i]);
    }
  }
  for (int i = 0; i < kCount; ++i) store(out + i * kLanes, sums[i]);
}

void gather_part(float* out, float shrink, const Weights& w, const float* v, int dim, int n) {
  Floats sums = load_part(out, n) * splat(shrink);
  for (int slot = w.first; slot <= w.last; ++slot) {
    sums = multiply_add(splat(w.at[slot]), load_part(v + slot * dim, n), sums);
  }
  store_part(out, sums, n);
}

void gather_values(float* out, float shrink, const Weights& w, const float* v, int dim) {
  int i = 0;
  for (; i + 8 * kLanes <= dim; i += 8 * kLanes) gather<8>(out + i, shrink, w, v + i, dim);
  for (; i + 4 * kLanes <= dim; i += 4 * kLanes) gather<4>(out + i, shrink, w, v + i, dim);
  for (; i + kLanes <= dim; i += kLanes) gather<1>(out + i, shrink, w, v + i, dim);
  if (i < dim) gather_part(out + i, shrink, w, v + i, dim, dim - i);
}

// Scaled scores of the seen slots into w, minus infinity for the others.
void score(const float* q, const float* k, int dim, float scale, Weights& w) {
  float raw[kPageTokens];
  const int whole = w.first / 4 * 4;  // slots beyond the seen ones are computed and passed over
  for (int slot = whole; slot <= w.last; slot += 4) {
    store_quad(raw + slot, dot_four(q, k + slot * dim, dim));
  }
  for (float& s : w.at) s = -__builtin_inff();
  for (int slot = w.first; slot <= w.last; ++slot) w.at[slot] = raw[slot] * scale;
}

struct Scratch {
  explicit Scratch(const AttentionTask& task)
      : k(task.scratch),
        v(k + kPageTokens * task.head_dim),
        maximum(v + kPageTokens * task.head_dim),
        sum(maximum + task.group * kAttentionTokens) {}

  float* k;        // [kPageTokens, head_dim], the page at hand
  float* v;        // likewise
  float* maximum;  // [tokens, group]
  float* sum;      // [tokens, group]
};

// Scores, minus infinity where nothing is seen, become weights; maximum and total go along. Returns
// what the output so far is to be multiplied with.
float soften(float (&scores)[kPageTokens], float& maximum, float& total) {
  Floats most = load(scores);
  for (int i = kLanes; i < kPageTokens; i += kLanes) most = larger(most, load(scores + i));
  const float here = largest(most);
  const float highest = here > maximum ? here : maximum;
  float shrink[kLanes];
  store(shrink, exponential(splat(maximum - highest)));
  Floats sums = zeros();
  for (int i = 0; i < kPageTokens; i += kLanes) {
    const Floats weights = exponential(load(scores + i) - splat(highest));
    store(scores + i, weights);
    sums = sums + weights;
  }
  maximum = highest;
  total = total * shrink[0] + sum_of_lanes(sums);
  return shrink[0];
}

// One query and head against the seen slots of the page at hand.
void attend(const AttentionTask& task, const Scratch& page, int token, int head, Weights& w) {
  const int dim = task.head_dim;
  const int64_t at = static_cast<int64_t>(head) * dim;
  score(task.q + token * task.q_stride + at, page.k, dim, task.scale, w);
  const int row = token * task.group + head;
  const float shrink = soften(w.at, page.maximum[row], page.sum[row]);
  gather_values(task.out + token * task.out_stride + at, shrink, w, page.v, dim);
}

const std::byte* rows_of(const AttentionTask& task, const std::byte* cache, KvType type, int page) {
  const int64_t block = static_cast<int64_t>(task.pages[page]) * task.kv_heads + task.kv_head;
  return cache + block * kPageTokens * kv_bytes(type, task.head_dim);
}

// The seen slots of a page of keys or values, for the task's only token.
PageRows page_rows(const AttentionTask& task, const std::byte* cache, KvType type, int page) {
  const int begin = page * kPageTokens;
  const int oldest = task.window > 0 ? task.position - task.window + 1 - begin : 0;
  const int last = task.position - begin;
  const std::byte* rows = rows_of(task, cache, type, page);
  return {.rows = rows,
          .bytes = kv_bytes(type, task.head_dim),
          .first = oldest > 0 ? oldest : 0,
          .last = last < kPageTokens ? last : kPageTokens - 1,
          .next = rows};
}

// Heads [head, head + heads) of a single token against one page of those up to `last`.
void attend_one(const AttentionTask& task, const Scratch& scratch, int page, int last, int head,
                int heads) {
  const int vectors = task.head_dim / kLanes;
  const int64_t at = static_cast<int64_t>(head) * task.head_dim;
  PageRows k = page_rows(task, task.cache.k, task.cache.k_type, page);
  PageRows v = page_rows(task, task.cache.v, task.cache.v_type, page);
  k.next = v.rows;
  if (page < last) v.next = rows_of(task, task.cache.k, task.cache.k_type, page + 1);
  float scores[kHeadsAtOnce][kPageTokens];
  float shrink[kHeadsAtOnce];
  with_heads(heads, [&](auto count) {
    with_type(task.cache.k_type, [&](auto type) {
      score_rows<type.value, count.value>(task.q + at, vectors, k, scores);
    });
    for (int h = 0; h < count.value; ++h) {
      for (int slot = 0; slot < kPageTokens; ++slot) {
        const bool seen = slot >= k.first && slot <= k.last;
        scores[h][slot] = seen ? scores[h][slot] * task.scale : -__builtin_inff();
      }
      shrink[h] = soften(scores[h], scratch.maximum[head + h], scratch.sum[head + h]);
    }
    with_type(task.cache.v_type, [&](auto type) {
      gather_rows<type.value, count.value>(task.out + at, shrink, vectors, v, scores);
    });
  });
}

void attend_page(const AttentionTask& task, const Scratch& scratch, int page) {
  const int begin = page * kPageTokens;
  const int filled = task.position + task.tokens - begin;
  const int slots = filled < kPageTokens ? filled : kPageTokens;
  load_page(task.cache.k, task.cache.k_type, task, page, slots, scratch.k);
  load_page(task.cache.v, task.cache.v_type, task, page, slots, scratch.v);
  for (int token = 0; token < task.tokens; ++token) {
    const int position = task.position + token;
    const int oldest = task.window > 0 ? position - task.window + 1 - begin : 0;
    Weights w;
    w.first = oldest > 0 ? oldest : 0;
    w.last = position - begin < kPageTokens ? position - begin : kPageTokens - 1;
    if (w.first > w.last) continue;
    for (int head = 0; head < task.group; ++head) attend(task, scratch, token, head, w);
  }
}

void begin_outputs(const AttentionTask& task, const Scratch& scratch) {
  for (int i = 0; i < task.tokens * task.group; ++i) {
    scratch.maximum[i] = -__builtin_inff();
    scratch.sum[i] = 0;
  }
  for (int token = 0; token < task.tokens; ++token) {
    float* out = task.out + token * task.out_stride;
    for (int i = 0; i < task.group * task.head_dim; ++i) out[i] = 0;
  }
}

void finish_outputs(const AttentionTask& task, const Scratch& scratch) {
  if (task.unfinished != nullptr) {
    const int count = task.tokens * task.group;
    for (int i = 0; i < count; ++i) task.unfinished[i] = scratch.maximum[i];
    for (int i = 0; i < count; ++i) task.unfinished[count + i] = scratch.sum[i];
    return;
  }
  for (int i = 0; i < task.tokens * task.group; ++i) {
    const int64_t head = static_cast<int64_t>(i % task.group) * task.head_dim;
    float* out = task.out + i / task.group * task.out_stride + head;
    for (int j = 0; j < task.head_dim; ++j) out[j] /= scratch.sum[i];
  }
}

}  // namespace

void store_kv(std::byte* row, const float* x, int head_dim, KvType type) noexcept {
  store_kv_row(row, x, head_dim, type);
}

void attention(const AttentionTask& task) noexcept {
  const Scratch scratch(task);
  begin_outputs(task, scratch);
  const int oldest = task.window > 0 ? task.position - task.window + 1 : 0;
  const int seen = oldest > 0 ? oldest / kPageTokens : 0;
  const int first = seen > task.first_page ? seen : task.first_page;
  const int newest = (task.position + task.tokens - 1) / kPageTokens;
  const int last = newest < task.end_page ? newest : task.end_page - 1;
  const bool one = task.tokens == 1 && task.head_dim % kLanes == 0;
  for (int page = first; page <= last; ++page) {
    if (!one) {
      attend_page(task, scratch, page);
      continue;
    }
    for (int head = 0; head < task.group; head += kHeadsAtOnce) {
      const int left = task.group - head;
      attend_one(task, scratch, page, last, head, left < kHeadsAtOnce ? left : kHeadsAtOnce);
    }
  }
  finish_outputs(task, scratch);
}

}  // namespace upg::kernels::UPG_ISA
