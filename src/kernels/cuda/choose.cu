// The kernels of choose.h: many blocks a row, the last one to finish a launch does what needs all
// of them.
#include "kernels/cuda/choose.h"
#include "kernels/cuda/device.cuh"

namespace upg::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBinsPerThread = kBins / kThreads;

using Long = unsigned long long;  // what the atomics take

__device__ float logit_of(uint64_t key) { return __uint_as_float(key_logit_bits(key)); }

__device__ uint64_t as_integer(double weight, int bits) {
  return static_cast<uint64_t>(__double2ll_rn(ldexp(weight, bits)));
}

// What top-p and min-p go by: the probability as a share of the largest one.
__device__ double weight_of(float logit, float largest) {
  return exp(static_cast<double>(logit) - static_cast<double>(largest));
}

__device__ Long* as_long(uint64_t* x) { return reinterpret_cast<Long*>(x); }

// Whether this block is the row's last to get here; then it sees what the others wrote.
__device__ bool last_of_row(uint32_t* done) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(done, 1u) == gridDim.x - 1;
  __syncthreads();
  if (last) __threadfence();
  return last;
}

// Ids [begin, end) of this block.
struct Slice {
  int64_t begin;
  int64_t end;
};
__device__ Slice slice_of(int part, int64_t vocabulary) {
  const int64_t each = (vocabulary + kParts - 1) / kParts;
  const int64_t begin = min(vocabulary, part * each);
  return {begin, min(vocabulary, begin + each)};
}

// The sum over the threads before this one; `total`: over all. One sum at a time.
__device__ uint64_t sum_before(uint64_t own, uint64_t& total) {
  __shared__ uint64_t sums[kThreads];
  __syncthreads();
  sums[threadIdx.x] = own;
  __syncthreads();
  for (int step = 1; step < kThreads; step *= 2) {
    const uint64_t left = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
    __syncthreads();
    sums[threadIdx.x] += left;
    __syncthreads();
  }
  total = sums[kThreads - 1];
  const uint64_t before = sums[threadIdx.x] - own;
  __syncthreads();
  return before;
}

__device__ float clamped(float x) { return fminf(fmaxf(x, -kLargestLogit), kLargestLogit); }

// runtime/sampler.cc: penalise() and shift().
__device__ float changed(float logit, const LogitChange& change) {
  const float scaled = logit > 0 ? logit / change.penalty : logit * change.penalty;
  if (logit >= -kLargestLogit) logit = clamped(scaled);
  const bool ruled_out = logit < -kLargestLogit || change.add < -kLargestLogit;
  return ruled_out ? -INFINITY : clamped(logit + change.add);
}

// A thread for every id: the first of its changes makes all of them.
__global__ void change_kernel(ChoiceArguments a) {
  const ChoiceRow& row = a.plan[blockIdx.y];
  float* logits = a.logits + blockIdx.y * a.vocabulary;
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= row.changes) return;
  const LogitChange* changes = a.changes + row.first_change;
  const int32_t id = changes[i].id;
  if (i > 0 && changes[i - 1].id == id) return;
  float logit = logits[id];
  a.before[row.first_change + i] = logit;
  if (!(logit <= kLargestLogit)) return;  // found again by the next launch
  for (int k = i; k < row.changes && changes[k].id == id; ++k) logit = changed(logit, changes[k]);
  logits[id] = logit;
}

__device__ void undo_changes(const ChoiceArguments& a, int row_index) {
  const ChoiceRow& row = a.plan[row_index];
  const LogitChange* changes = a.changes + row.first_change;
  float* logits = a.logits + row_index * a.vocabulary;
  for (int i = threadIdx.x; i < row.changes; i += kThreads) {
    if (i > 0 && changes[i - 1].id == changes[i].id) continue;
    logits[changes[i].id] = a.before[row.first_change + i];
  }
}

__global__ void largest_kernel(ChoiceArguments a) {
  ChoiceState& state = a.states[blockIdx.y];
  const float* logits = a.logits + blockIdx.y * a.vocabulary;
  const Slice slice = slice_of(blockIdx.x, a.vocabulary);
  uint64_t best = 0;
  bool bad = false;
  for (int64_t id = slice.begin + threadIdx.x; id < slice.end; id += kThreads) {
    const float logit = logits[id];
    bad |= !(logit <= kLargestLogit);
    if (logit < -kLargestLogit) continue;
    best = max(best, token_key(__float_as_uint(logit), static_cast<int32_t>(id)));
  }
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    best = max(best, static_cast<uint64_t>(__shfl_xor_sync(kAllLanes, best, mask)));
  }
  if (threadIdx.x % kWarp == 0) atomicMax(as_long(&state.best), static_cast<Long>(best));
  if (bad) state.failed = 1;
}

// The first bin up to which `wanted` of `values` lie, and what lies before it: written by the one
// thread that finds it. Nothing when all together are too few.
template <class T>
__device__ void find_cut(const T* values, uint64_t wanted, int32_t* bin, uint64_t* before) {
  const int first = threadIdx.x * kBinsPerThread;
  uint64_t own = 0;
  for (int i = 0; i < kBinsPerThread; ++i) own += values[first + i];
  uint64_t total = 0;
  uint64_t sum = sum_before(own, total);
  if (sum >= wanted || sum + own < wanted) return;
  for (int i = first; i < first + kBinsPerThread; ++i) {
    if (sum + values[i] >= wanted) {
      *bin = i;
      *before = sum;
      return;
    }
    sum += values[i];
  }
}

__device__ uint64_t sum_of(const uint64_t* values, int count) {
  uint64_t own = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) own += values[i];
  uint64_t total = 0;
  sum_before(own, total);
  return total;
}

// The share of `total` that top-p asks for: at least one token.
__device__ uint64_t wanted_weight(float top_p, uint64_t total) {
  const auto share = static_cast<uint64_t>(ceil(static_cast<double>(top_p) * total));
  return max(share, uint64_t{1});
}

// Where top-p's last token lies, once the weight of all that top-k left is known.
__device__ void cut_top_p(ChoiceState& state, const ChoiceRow& row, uint64_t total) {
  __shared__ int32_t bin;
  __shared__ uint64_t before;
  if (threadIdx.x == 0) bin = -1;
  __syncthreads();
  find_cut(state.bin_weights, wanted_weight(row.top_p, total), &bin, &before);
  __syncthreads();
  if (threadIdx.x != 0) return;
  state.total = total;
  state.cut = bin;
  state.before = before;
}

__device__ void cut_top_k(ChoiceState& state, const ChoiceRow& row) {
  __shared__ int32_t bin;
  __shared__ uint64_t before;
  if (threadIdx.x == 0) bin = -1;
  __syncthreads();
  find_cut(state.bin_counts, static_cast<uint64_t>(row.top_k), &bin, &before);
  __syncthreads();
  if (bin < 0) {  // there are fewer: all stay
    if (row.top_p < 1) cut_top_p(state, row, sum_of(state.bin_weights, kBins));
    return;
  }
  const uint64_t weight = sum_of(state.bin_weights, bin);
  if (threadIdx.x != 0) return;
  state.cut = bin;
  state.before = weight;
  state.wanted = row.top_k - static_cast<int32_t>(before);
}

__global__ void __launch_bounds__(kThreads) histogram_kernel(ChoiceArguments a) {
  __shared__ uint64_t weights[kBins];
  __shared__ uint32_t counts[kBins];
  ChoiceState& state = a.states[blockIdx.y];
  const ChoiceRow& row = a.plan[blockIdx.y];
  const bool weighs = row.top_p < 1;
  if (row.temperature == 0 || (row.top_k == 0 && !weighs) || state.failed != 0) return;
  for (int i = threadIdx.x; i < kBins; i += kThreads) {
    weights[i] = 0;
    counts[i] = 0;
  }
  __syncthreads();
  const float* logits = a.logits + blockIdx.y * a.vocabulary;
  const float largest = logit_of(state.best);
  const Slice slice = slice_of(blockIdx.x, a.vocabulary);
  for (int64_t id = slice.begin + threadIdx.x; id < slice.end; id += kThreads) {
    const float logit = logits[id];
    if (!(logit >= -kLargestLogit)) continue;
    const int bin = bin_of(logit, largest);
    atomicAdd(&counts[bin], 1u);
    if (!weighs) continue;
    const uint64_t weight = as_integer(weight_of(logit, largest), a.bits);
    atomicAdd(as_long(&weights[bin]), static_cast<Long>(weight));
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kBins; i += kThreads) {
    if (counts[i] > 0) atomicAdd(&state.bin_counts[i], counts[i]);
    if (weights[i] > 0) atomicAdd(as_long(&state.bin_weights[i]), static_cast<Long>(weights[i]));
  }
  if (!last_of_row(&state.done[0])) return;
  if (row.top_k > 0) {
    cut_top_k(state, row);
  } else {
    cut_top_p(state, row, sum_of(state.bin_weights, kBins));
  }
}

// Largest first. count: a power of two, the rest of the list zero.
__device__ void sort_keys(uint64_t* keys, int count) {
  for (int size = 2; size <= count; size *= 2) {
    for (int step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      for (int i = threadIdx.x; i < count / 2; i += kThreads) {
        const int low = 2 * i - (i & (step - 1));
        const int high = low + step;
        const bool descending = (low & size) == 0;
        const uint64_t x = keys[low];
        const uint64_t y = keys[high];
        if ((x < y) == descending) {
          keys[low] = y;
          keys[high] = x;
        }
      }
    }
  }
  __syncthreads();
}

__device__ uint64_t weigh_run(const uint64_t* keys, int first, int end, float largest, int bits) {
  uint64_t sum = 0;
  for (int i = first; i < end; ++i) {
    sum += as_integer(weight_of(logit_of(keys[i]), largest), bits);
  }
  return sum;
}

// The sorted tokens of the cut's bin: top-k keeps `wanted` of them.
__device__ void keep_top_k(ChoiceState& state, const ChoiceRow& row, const uint64_t* keys,
                           float largest, int bits) {
  const int each = (state.wanted + kThreads - 1) / kThreads;
  const int first = min(state.wanted, static_cast<int>(threadIdx.x) * each);
  const int end = min(state.wanted, first + each);
  uint64_t total = 0;
  if (row.top_p < 1) sum_before(weigh_run(keys, first, end, largest, bits), total);
  total += state.before;
  __syncthreads();
  if (threadIdx.x == 0) state.threshold = keys[state.wanted - 1];
  __syncthreads();
  if (row.top_p < 1) cut_top_p(state, row, total);
}

__device__ void keep_top_p(ChoiceState& state, const ChoiceRow& row, const uint64_t* keys,
                           int count, float largest, int bits) {
  const int each = (count + kThreads - 1) / kThreads;
  const int first = min(count, static_cast<int>(threadIdx.x) * each);
  const int end = min(count, first + each);
  const uint64_t own = weigh_run(keys, first, end, largest, bits);
  const uint64_t wanted = wanted_weight(row.top_p, state.total);
  uint64_t total = 0;
  uint64_t sum = state.before + sum_before(own, total);
  if (sum >= wanted || sum + own < wanted) return;
  for (int i = first; i < end; ++i) {
    sum += weigh_run(keys, i, i + 1, largest, bits);
    if (sum < wanted) continue;
    state.threshold = keys[i];
    return;
  }
}

enum class Filter { kTopK, kTopP };

template <Filter kFilter>
__global__ void __launch_bounds__(kThreads) select_kernel(ChoiceArguments a) {
  __shared__ uint64_t keys[kMostSorted];
  __shared__ uint32_t listed;
  ChoiceState& state = a.states[blockIdx.y];
  const ChoiceRow& row = a.plan[blockIdx.y];
  const bool asked = kFilter == Filter::kTopK ? state.wanted > 0 : row.top_p < 1;
  if (row.temperature == 0 || !asked || state.failed != 0) return;
  const float largest = logit_of(state.best);
  const float* logits = a.logits + blockIdx.y * a.vocabulary;
  const Slice slice = slice_of(blockIdx.x, a.vocabulary);
  for (int64_t id = slice.begin + threadIdx.x; id < slice.end; id += kThreads) {
    const float logit = logits[id];
    if (!(logit >= -kLargestLogit) || bin_of(logit, largest) != state.cut) continue;
    const uint64_t key = token_key(__float_as_uint(logit), static_cast<int32_t>(id));
    if (key < state.threshold) continue;
    const uint32_t at = atomicAdd(&state.listed, 1u);
    if (at < kMostSorted) state.list[at] = key;
  }
  if (!last_of_row(&state.done[kFilter == Filter::kTopK ? 1 : 2])) return;
  if (threadIdx.x == 0) {
    listed = state.listed;
    state.listed = 0;  // for the next filter
    if (listed > kMostSorted) state.failed = 1;
  }
  __syncthreads();
  if (listed > kMostSorted) return;
  int count = 2;
  while (count < listed) count *= 2;
  for (int i = threadIdx.x; i < count; i += kThreads) keys[i] = i < listed ? state.list[i] : 0;
  sort_keys(keys, count);
  if (kFilter == Filter::kTopK) {
    keep_top_k(state, row, keys, largest, a.bits);
  } else {
    keep_top_p(state, row, keys, static_cast<int>(listed), largest, a.bits);
  }
}

// What the draw goes by; 0 for what the filters dropped.
__device__ uint64_t draw_weight(const ChoiceArguments& a, const ChoiceRow& row,
                                const ChoiceState& state, int64_t id, float logit) {
  if (!(logit >= -kLargestLogit)) return 0;
  const float largest = logit_of(state.best);
  if (token_key(__float_as_uint(logit), static_cast<int32_t>(id)) < state.threshold) return 0;
  if (row.min_p > 0 && weight_of(logit, largest) < static_cast<double>(row.min_p)) return 0;
  const double distance = static_cast<double>(logit) - static_cast<double>(largest);
  return as_integer(exp(distance / static_cast<double>(row.temperature)), a.bits);
}

// Each thread's run of ids lies before the next one's, so that their sums are in order of ids.
__device__ void walk(const ChoiceArguments& a, int row_index, int part, uint64_t place) {
  const ChoiceRow& row = a.plan[row_index];
  const ChoiceState& state = a.states[row_index];
  const float* logits = a.logits + row_index * a.vocabulary;
  const Slice slice = slice_of(part, a.vocabulary);
  const int64_t each = (slice.end - slice.begin + kThreads - 1) / kThreads;
  const int64_t first = min(slice.end, slice.begin + static_cast<int64_t>(threadIdx.x) * each);
  const int64_t end = min(slice.end, first + each);
  uint64_t own = 0;
  for (int64_t id = first; id < end; ++id) own += draw_weight(a, row, state, id, logits[id]);
  uint64_t total = 0;
  uint64_t sum = sum_before(own, total);
  if (sum > place || sum + own <= place) return;
  for (int64_t id = first; id < end; ++id) {
    sum += draw_weight(a, row, state, id, logits[id]);
    if (sum <= place) continue;
    a.ids[row_index] = static_cast<int32_t>(id);
    return;
  }
}

__device__ void draw(const ChoiceArguments& a, int row_index) {
  __shared__ int part;
  __shared__ uint64_t place;
  const ChoiceState& state = a.states[row_index];
  const uint64_t own = threadIdx.x < kParts ? state.sums[threadIdx.x] : 0;
  uint64_t total = 0;
  const uint64_t sum = sum_before(own, total);
  const uint64_t wanted = draw_place(a.plan[row_index].draw, total);
  if (sum <= wanted && sum + own > wanted) {
    part = threadIdx.x;
    place = wanted - sum;
  }
  __syncthreads();
  walk(a, row_index, part, place);
}

__global__ void __launch_bounds__(kThreads) draw_kernel(ChoiceArguments a) {
  ChoiceState& state = a.states[blockIdx.y];
  const ChoiceRow& row = a.plan[blockIdx.y];
  const bool possible = state.failed == 0 && state.best != 0;
  if (possible && row.temperature > 0) {
    const float* logits = a.logits + blockIdx.y * a.vocabulary;
    const Slice slice = slice_of(blockIdx.x, a.vocabulary);
    uint64_t own = 0;
    for (int64_t id = slice.begin + threadIdx.x; id < slice.end; id += kThreads) {
      own += draw_weight(a, row, state, id, logits[id]);
    }
    uint64_t total = 0;
    sum_before(own, total);
    if (threadIdx.x == 0) state.sums[blockIdx.x] = total;
  }
  if (!last_of_row(&state.done[3])) return;
  const int row_index = static_cast<int>(blockIdx.y);
  if (!possible || row.temperature == 0) {
    if (threadIdx.x == 0) a.ids[row_index] = possible ? key_id(state.best) : -1;
  } else {
    draw(a, row_index);
  }
  __syncthreads();
  undo_changes(a, row_index);
}

}  // namespace

int choose_ids(const ChoiceArguments& a, const ChoiceStages& stages, cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(a.rows);
  const dim3 parts(kParts, rows);
  int launches = 2;
  if (stages.most_changes > 0) {
    const auto blocks = static_cast<unsigned>((stages.most_changes + kThreads - 1) / kThreads);
    change_kernel<<<dim3(blocks, rows), kThreads, 0, stream>>>(a);
    ++launches;
  }
  largest_kernel<<<parts, kThreads, 0, stream>>>(a);
  if (stages.top_k || stages.top_p) {
    histogram_kernel<<<parts, kThreads, 0, stream>>>(a);
    ++launches;
  }
  if (stages.top_k) {
    select_kernel<Filter::kTopK><<<parts, kThreads, 0, stream>>>(a);
    ++launches;
  }
  if (stages.top_p) {
    select_kernel<Filter::kTopP><<<parts, kThreads, 0, stream>>>(a);
    ++launches;
  }
  draw_kernel<<<parts, kThreads, 0, stream>>>(a);
  return launches;
}

}  // namespace upg::kernels::cuda
