// CpuBackend's attention: rotary turn, the writing of the cache, and the tasks into which the
// attending is cut.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/checked.h"
#include "kernels/cpu_backend.h"

namespace upg::kernels {
namespace {

constexpr int64_t kFloatsPerThread = 1 << 13;
constexpr int kPartPages = 16;  // pages of a single token's task

int64_t token_grain(int64_t floats_a_token) {
  return std::max<int64_t>(1, kFloatsPerThread / std::max<int64_t>(1, floats_a_token));
}

// Where the cache keeps a position of a sequence, for kv head 0; the next head's is a page of rows
// further.
int64_t row_index(const SequenceSlice& slice, const AttentionShape& shape, int position) {
  const int64_t page = slice.pages[static_cast<size_t>(position / kPageTokens)];
  return page * shape.kv_heads * kPageTokens + position % kPageTokens;
}

}  // namespace

void CpuBackend::rope(float* qkv, const AttentionShape& shape, const float* q_norm,
                      const float* k_norm, float epsilon) {
  UPG_CHECK(shape.rotary_dims == 0 || shape.rotary_dims == step_.rotary_dims());
  const int64_t width = shape.qkv_width();
  team_.for_ranges(step_.tokens(), token_grain(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int token = static_cast<int>(t);
      float* head = qkv + t * width;
      for (int h = 0; h < shape.heads + shape.kv_heads; ++h, head += shape.head_dim) {
        const float* norm = h < shape.heads ? q_norm : k_norm;
        if (norm != nullptr) ops_.rms_norm(head, head, norm, epsilon, shape.head_dim);
        if (shape.rotary_dims > 0) {
          ops_.rope(head, step_.cos(token), step_.sin(token), shape.rotary_dims);
        }
      }
    }
  });
}

void CpuBackend::attention(float* out, const float* qkv, const AttentionShape& shape,
                           const KvLayer& cache) {
  store_keys_and_values(qkv, shape, cache);
  make_tasks(out, qkv, shape, cache);
  const int64_t floats = attention_scratch_floats(shape.heads / shape.kv_heads, shape.head_dim);
  // Whole cache lines, so that threads do not share one.
  const int64_t stride = base::round_up<int64_t>(floats, kAlignment / sizeof(float));
  float* scratch = attention_scratch_.reserve(stride * team_.size());
  const auto run = [&](int64_t index, int thread) {
    AttentionTask task = tasks_[static_cast<size_t>(index)];
    task.scratch = scratch + thread * stride;
    ops_.attention(task);
  };
  if (work_ >= kFloatsPerThread) {
    team_.for_each(static_cast<int64_t>(tasks_.size()), run);
  } else {
    for (size_t i = 0; i < tasks_.size(); ++i) run(static_cast<int64_t>(i), 0);
  }
  merge_parts(shape);
}

// A task, or the parts of it. How they are cut depends on the context alone, not on the threads:
// the same bits however many there are.
void CpuBackend::add_task(const AttentionTask& task, const AttentionShape& shape) {
  const int oldest = shape.window > 0 ? std::max(0, task.position - shape.window + 1) : 0;
  const int first = oldest / kPageTokens;
  const int end = task.position / kPageTokens + 1;
  if (task.tokens > 1 || end - first <= kPartPages) {
    tasks_.push_back(task);
    return;
  }
  const int parts = base::ceil_div(end - first, kPartPages);
  merges_.push_back({task.out, tasks_.size(), static_cast<size_t>(parts)});
  for (int part = 0; part < parts; ++part) {
    AttentionTask some = task;
    some.first_page = first + part * kPartPages;
    some.end_page = std::min(some.first_page + kPartPages, end);
    tasks_.push_back(some);
  }
}

void CpuBackend::give_parts_their_place(const AttentionShape& shape) {
  const int group = shape.heads / shape.kv_heads;
  const int64_t floats =
      base::round_up<int64_t>(int64_t{group} * (shape.head_dim + 2), kAlignment / sizeof(float));
  int64_t count = 0;
  for (const Merge& merge : merges_) count += static_cast<int64_t>(merge.parts);
  float* place = parts_.reserve(floats * count);
  for (const Merge& merge : merges_) {
    for (size_t part = 0; part < merge.parts; ++part, place += floats) {
      AttentionTask& task = tasks_[merge.first_task + part];
      task.out = place;
      task.out_stride = int64_t{group} * shape.head_dim;
      task.unfinished = place + task.out_stride;
    }
  }
}

void CpuBackend::merge_parts(const AttentionShape& shape) {
  const int group = shape.heads / shape.kv_heads;
  for (const Merge& merge : merges_) {
    const AttentionTask* parts = &tasks_[merge.first_task];
    for (int head = 0; head < group; ++head) {
      float maximum = parts[0].unfinished[head];
      for (size_t p = 1; p < merge.parts; ++p) {
        maximum = std::max(maximum, parts[p].unfinished[head]);
      }
      float* out = merge.out + static_cast<int64_t>(head) * shape.head_dim;
      std::fill_n(out, shape.head_dim, 0.0f);
      float total = 0;
      for (size_t p = 0; p < merge.parts; ++p) {
        const float weight = std::exp(parts[p].unfinished[head] - maximum);
        const float* part = parts[p].out + static_cast<int64_t>(head) * shape.head_dim;
        total += weight * parts[p].unfinished[group + head];
        for (int i = 0; i < shape.head_dim; ++i) out[i] += weight * part[i];
      }
      for (int i = 0; i < shape.head_dim; ++i) out[i] /= total;
    }
  }
}

void CpuBackend::store_keys_and_values(const float* qkv, const AttentionShape& shape,
                                       const KvLayer& cache) {
  const auto k_bytes = static_cast<int64_t>(kv_row_bytes(cache.k_type, shape.head_dim));
  const auto v_bytes = static_cast<int64_t>(kv_row_bytes(cache.v_type, shape.head_dim));
  const int64_t kv_width = int64_t{shape.kv_heads} * shape.head_dim;
  team_.for_ranges(step_.tokens(), token_grain(2 * kv_width), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const SequenceSlice& slice = step_.sequence_of(static_cast<int>(t));
      const int position = slice.past + static_cast<int>(t) - slice.first;
      int64_t row = row_index(slice, shape, position);
      const float* k = qkv + t * shape.qkv_width() + shape.q_width();
      for (int h = 0; h < shape.kv_heads; ++h, k += shape.head_dim, row += kPageTokens) {
        ops_.store_kv(cache.k + row * k_bytes, k, shape.head_dim, cache.k_type);
        ops_.store_kv(cache.v + row * v_bytes, k + kv_width, shape.head_dim, cache.v_type);
      }
    }
  });
}

// One task for each sequence, kv head and run of query tokens; of a prompt the last ones first,
// since they see most and would be the longest to wait for.
void CpuBackend::make_tasks(float* out, const float* qkv, const AttentionShape& shape,
                            const KvLayer& cache) {
  tasks_.clear();
  merges_.clear();
  work_ = 0;
  const int group = shape.heads / shape.kv_heads;
  for (const SequenceSlice& slice : step_.sequences()) {
    const int chunks = base::ceil_div(slice.tokens, kAttentionTokens);
    work_ += int64_t{slice.tokens} * (slice.past + slice.tokens) * shape.q_width();
    for (int chunk = chunks - 1; chunk >= 0; --chunk) {
      const int begin = chunk * kAttentionTokens;
      for (int head = 0; head < shape.kv_heads; ++head) {
        const int64_t token = slice.first + begin;
        const int64_t offset = static_cast<int64_t>(head) * group * shape.head_dim;
        add_task({.q = qkv + token * shape.qkv_width() + offset,
                  .out = out + token * shape.q_width() + offset,
                  .q_stride = shape.qkv_width(),
                  .out_stride = shape.q_width(),
                  .tokens = std::min(kAttentionTokens, slice.tokens - begin),
                  .position = slice.past + begin,
                  .group = group,
                  .head_dim = shape.head_dim,
                  .kv_head = head,
                  .kv_heads = shape.kv_heads,
                  .scale = shape.scale,
                  .window = shape.window,
                  .pages = slice.pages.data(),
                  .cache = cache,
                  .scratch = nullptr},
                 shape);
      }
    }
  }
  give_parts_their_place(shape);
}

}  // namespace upg::kernels
