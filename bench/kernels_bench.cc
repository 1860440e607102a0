// How fast the CPU tables are, against what the machine can read and compute.
//
//   build/release/bench/kernels_bench --benchmark_filter=Path
//
// `share` is the fraction of the best read bandwidth measured in this very run with as many
// threads; matrices are rotated through more memory than the caches hold. Weights and codes are
// random.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/machine.h"
#include "base/memory.h"
#include "kernels/cpu/tables.h"
#include "kernels/input_tiles.h"
#include "kernels/reference/ops.h"
#include "kernels/scratch.h"

namespace upg::kernels {
namespace {

constexpr int64_t kStreamedBytes = int64_t{192} << 20;

template <class T>
T* random_bits(Scratch<T>& storage, int64_t count, unsigned seed) {
  T* data = storage.reserve(count);
  std::mt19937_64 random(seed);
  const size_t bytes = static_cast<size_t>(count) * sizeof(T);
  base::advise_huge_pages({reinterpret_cast<const std::byte*>(data), bytes});
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    const uint64_t word = random();
    std::memcpy(reinterpret_cast<char*>(data) + i, &word, 8);
  }
  return data;
}

float* random_floats(Scratch<float>& storage, int64_t count) {
  float* data = storage.reserve(count);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < count; ++i) data[i] = normal(random);
  return data;
}

// ---- the machine --------------------------------------------------------------------------------

// Bytes a second that `threads` threads read together; measured once.
double read_bandwidth(int threads) {
  static std::map<int, double> known;
  const auto [it, is_new] = known.try_emplace(threads, 0.0);
  if (is_new) it->second = base::ReadProbe(threads).measure(0.5);
  return it->second;
}

void ReadBandwidth(benchmark::State& state) {
  const int threads = static_cast<int>(state.range(0));
  double bytes = 0;
  for (auto _ : state) bytes = read_bandwidth(threads);
  state.counters["GB/s"] = bytes * 1e-9;
}
BENCHMARK(ReadBandwidth)->Arg(1)->Arg(2)->Iterations(1)->ArgName("threads");

// ---- products with path matrices ----------------------------------------------------------------

struct Inputs {
  Inputs(const CpuOps& ops, int64_t rows, int64_t cols)
      : floats(random_floats(x, rows * cols)), count(rows), width(cols) {
    const int64_t blocks = cols / codec::kBlockColumns;
    q.reserve(rows * cols);
    scale.reserve(rows * blocks);
    start.reserve(4 * rows * blocks);
    for (int64_t i = 0; i < rows; ++i) {
      ops.quantise(floats + i * cols, cols, q.data() + i * cols, scale.data() + i * blocks,
                   start.data() + 4 * i * blocks);
    }
    if (rows < kTiledInputs || ops.tile_inputs == 0) return;
    tiled.reserve(rows * cols);
    for (int64_t i = 0; i < input_tile_count(rows, ops.tile_inputs); ++i) {
      fill_input_tile(q.data(), cols, input_tile_range(rows, ops.tile_inputs, i), 0, cols,
                      tiled.data());
    }
  }
  QuantisedInput quantised() const {
    return {q.data(), scale.data(), start.data(), count, width, tiled.data()};
  }
  FloatInput as_floats() const { return {floats, count, width, width}; }

  Scratch<float> x;
  Scratch<int8_t> q;
  Scratch<float> scale;
  Scratch<int32_t> start;
  Scratch<int8_t> tiled;
  const float* floats;
  int64_t count;
  int64_t width;
};

codec::PathMatrix path_matrix(int bits, bool two_palettes, const uint8_t* codes,
                              const float* scale) {
  codec::PathMatrix w = {
      .bits = bits, .two_palettes = two_palettes, .codes = codes, .scale = scale};
  for (size_t i = 0; i < 16; ++i) {
    w.level_a[i] = static_cast<int8_t>(4 * static_cast<int>(i) - 30);
    w.level_b[i] = static_cast<int8_t>(two_palettes ? 20 - 3 * static_cast<int>(i) : 0);
  }
  return w;
}

// Calls product(copy, range) for all rows of every copy, on `threads` threads.
template <class Product>
void run_streamed(benchmark::State& state, int threads, int64_t rows, int64_t copies,
                  int64_t copy_bytes, const Product& product) {
  const double limit = read_bandwidth(threads);
  const int64_t part = codec::padded_rows((rows + threads - 1) / threads);
  const auto work = [&](int t) {
    for (int64_t copy = 0; copy < copies; ++copy) {
      product(copy, RowRange{t * part, std::min(rows, (t + 1) * part)});
    }
  };
  double best = 1e30;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> team;
    for (int t = 1; t < threads; ++t) team.emplace_back(work, t);
    work(0);
    for (std::thread& thread : team) thread.join();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    best = std::min(best, time.count());
  }
  const double bytes = static_cast<double>(copies * copy_bytes);
  state.counters["GB/s"] = bytes / best * 1e-9;
  state.counters["share"] = bytes / best / limit;
}

void PathStreamed(benchmark::State& state, const CpuOps& ops, int bits, bool two, int64_t rows,
                  int64_t cols, int threads) {
  const int64_t bytes = codec::padded_rows(rows) * cols * bits / 8;
  const int64_t copies = std::max<int64_t>(2, kStreamedBytes / bytes);
  Scratch<uint8_t> codes;
  random_bits(codes, copies * bytes, 2);
  Scratch<float> scale, y;
  random_floats(scale, rows);
  y.reserve(rows);
  const Inputs in(ops, 1, cols);
  run_streamed(state, threads, rows, copies, bytes, [&](int64_t copy, RowRange range) {
    const auto w = path_matrix(bits, two, codes.data() + copy * bytes, scale.data());
    ops.matmul_path(w, cols, range, in.quantised(), {y.data(), rows, Store::kSet});
  });
}

constexpr int64_t kSide = 5120;

void count_operations(benchmark::State& state, int64_t batch, const char* name) {
  state.counters[name] = benchmark::Counter(2e-9 * kSide * kSide * static_cast<double>(batch),
                                            benchmark::Counter::kIsIterationInvariantRate);
}

void PathBatch(benchmark::State& state, const CpuOps& ops, int bits) {
  const int64_t batch = state.range(0);
  Scratch<uint8_t> codes;
  Scratch<float> scale, y;
  const auto w = path_matrix(bits, true, random_bits(codes, kSide * kSide * bits / 8, 2),
                             random_floats(scale, kSide));
  y.reserve(batch * kSide);
  const Inputs in(ops, batch, kSide);
  for (auto _ : state) {
    ops.matmul_path(w, kSide, {0, kSide}, in.quantised(), {y.data(), kSide, Store::kSet});
  }
  count_operations(state, batch, "GOPS");
}

void Int8Batch(benchmark::State& state, const CpuOps& ops) {
  const int64_t batch = state.range(0);
  Scratch<int8_t> codes;
  Scratch<float> scale, y;
  const codec::Int8Matrix w = {random_bits(codes, kSide * kSide, 2), random_floats(scale, kSide)};
  y.reserve(batch * kSide);
  const Inputs in(ops, batch, kSide);
  for (auto _ : state) {
    ops.matmul_int8(w, kSide, {0, kSide}, in.quantised(), {y.data(), kSide, Store::kSet});
  }
  count_operations(state, batch, "GOPS");
}

// Half the columns, every second one.
void SparseBatch(benchmark::State& state, const CpuOps& ops) {
  const int64_t batch = state.range(0);
  Scratch<uint8_t> masks, codes;
  Scratch<uint32_t> offsets;
  Scratch<float> scale, y;
  std::memset(masks.reserve(kSide * kSide / 8), 0x5a, kSide * kSide / 8);
  random_bits(codes, kSide * kSide / 4, 2);
  const int64_t groups = kSide / codec::kGroupRows;
  offsets.reserve(groups + 1);
  for (int64_t g = 0; g <= groups; ++g) offsets.data()[g] = static_cast<uint32_t>(g * kSide);
  codec::SparseMatrix w = {masks.data(), codes.data(), offsets.data(), random_floats(scale, kSide)};
  for (size_t i = 1; i < 16; ++i) w.level[i] = static_cast<int8_t>(8 * static_cast<int>(i) - 64);
  y.reserve(batch * kSide);
  const Inputs in(ops, batch, kSide);
  for (auto _ : state) {
    ops.matmul_sparse(w, kSide, {0, kSide}, in.quantised(), {y.data(), kSide, Store::kSet});
  }
  count_operations(state, batch, "GOPS");
}

// ---- uncompressed matrices ----------------------------------------------------------------------

void RawBatch(benchmark::State& state, const CpuOps& ops, base::DType dtype) {
  const int64_t batch = state.range(0);
  Scratch<float> storage, y;
  // Floats below 2 in every 16-bit half: no NaN whichever type they are read as.
  auto* bits = reinterpret_cast<uint32_t*>(storage.reserve(kSide * kSide));
  for (int64_t i = 0; i < kSide * kSide; ++i) bits[i] = 0x3c003c00u + static_cast<uint32_t>(i % 97);
  const codec::RawMatrix w = {dtype, reinterpret_cast<const std::byte*>(bits)};
  y.reserve(batch * kSide);
  const Inputs in(ops, batch, kSide);
  for (auto _ : state) {
    ops.matmul_raw(w, kSide, {0, kSide}, in.as_floats(), {y.data(), kSide, Store::kSet});
  }
  count_operations(state, batch, "GFLOPS");
}

// ---- what lies between the products -------------------------------------------------------------

void Prepare(benchmark::State& state, const CpuOps& ops) {
  Inputs in(ops, 1, kSide);
  std::vector<uint8_t> signs(kSide / 8, 0x5a);
  for (auto _ : state) {
    ops.rotate(in.x.data(), kSide, signs.data());
    ops.quantise(in.x.data(), kSide, in.q.data(), in.scale.data(), in.start.data());
  }
}

// One kv head of Phi-4 (four query heads, 128 dimensions): `tokens` queries at the end of
// `context`.
void Attention(benchmark::State& state, const CpuOps& ops) {
  const int tokens = static_cast<int>(state.range(0));
  const int context = static_cast<int>(state.range(1));
  constexpr int kGroup = 4, kDim = 128;
  Scratch<float> q, out, scratch;
  Scratch<std::byte> k, v;
  random_floats(q, tokens * kGroup * kDim);
  out.reserve(tokens * kGroup * kDim);
  scratch.reserve(attention_scratch_floats(kGroup, kDim));
  std::memset(k.reserve(context * kDim * 2), 0x3c, static_cast<size_t>(context) * kDim * 2);
  std::memset(v.reserve(context * kDim * 2), 0x3c, static_cast<size_t>(context) * kDim * 2);
  std::vector<int32_t> pages(static_cast<size_t>(context / kPageTokens));
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);
  const AttentionTask task = {.q = q.data(),
                              .out = out.data(),
                              .q_stride = kGroup * kDim,
                              .out_stride = kGroup * kDim,
                              .tokens = tokens,
                              .position = context - tokens,
                              .group = kGroup,
                              .head_dim = kDim,
                              .kv_head = 0,
                              .kv_heads = 1,
                              .scale = 0.088f,
                              .window = 0,
                              .pages = pages.data(),
                              .cache = {k.data(), v.data(), KvType::kF16, KvType::kF16},
                              .scratch = scratch.data()};
  for (auto _ : state) ops.attention(task);
  state.counters["GFLOPS"] = benchmark::Counter(4e-9 * tokens * context * kGroup * kDim,
                                                benchmark::Counter::kIsIterationInvariantRate);
}

// ---- the list -----------------------------------------------------------------------------------

void add_streamed(const CpuOps& ops, const std::string& table) {
  struct Case {
    const char* name;
    int64_t rows, cols;
  };
  for (const Case c :
       {Case{"o", 5120, 5120}, Case{"gate_up", 35840, 5120}, Case{"down", 5120, 17920}}) {
    for (const bool two : {false, true}) {
      for (const int threads : {1, 2}) {
        const std::string name = "PathStreamed/" + table + "/path3/" + c.name +
                                 (two ? "/two_palettes" : "/one_palette") +
                                 "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=, &ops](benchmark::State& state) {
                                       PathStreamed(state, ops, 3, two, c.rows, c.cols, threads);
                                     })
            ->Unit(benchmark::kMillisecond)
            ->UseRealTime();
      }
    }
  }
}

using Body = void (*)(benchmark::State&, const CpuOps&);

void add_batches(const CpuOps& ops, const std::string& name, Body body) {
  auto* bench = benchmark::RegisterBenchmark(
      name.c_str(), [=, &ops](benchmark::State& state) { body(state, ops); });
  for (const int batch : {1, 2, 4, 8, 16, 64, 512}) bench->Arg(batch);
  bench->ArgName("batch")->Unit(benchmark::kMillisecond);
}

void add_table(const CpuOps& ops) {
  const std::string table(ops.name);
  add_streamed(ops, table);
  add_batches(ops, "PathBatch/" + table + "/path2", [](auto& s, auto& o) { PathBatch(s, o, 2); });
  add_batches(ops, "PathBatch/" + table + "/path3", [](auto& s, auto& o) { PathBatch(s, o, 3); });
  add_batches(ops, "PathBatch/" + table + "/path4", [](auto& s, auto& o) { PathBatch(s, o, 4); });
  add_batches(ops, "Int8Batch/" + table, Int8Batch);
  add_batches(ops, "SparseBatch/" + table, SparseBatch);
  add_batches(ops, "RawBatch/" + table + "/bf16",
              [](auto& s, auto& o) { RawBatch(s, o, base::DType::kBF16); });
  add_batches(ops, "RawBatch/" + table + "/f32",
              [](auto& s, auto& o) { RawBatch(s, o, base::DType::kF32); });
  benchmark::RegisterBenchmark(("Prepare/" + table).c_str(),
                               [&ops](benchmark::State& state) { Prepare(state, ops); });
  benchmark::RegisterBenchmark(("Attention/" + table).c_str(),
                               [&ops](benchmark::State& state) { Attention(state, ops); })
      ->ArgNames({"tokens", "context"})
      ->Args({1, 512})
      ->Args({1, 4096})
      ->Args({32, 512});
}

}  // namespace
}  // namespace upg::kernels

int main(int argc, char** argv) {
  for (const upg::kernels::CpuOps* ops : upg::kernels::cpu_tables()) {
    if (ops->supported()) upg::kernels::add_table(*ops);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
