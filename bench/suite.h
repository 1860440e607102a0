// What the benchmark book measures: one table of benchmarks, each with what bounds it on this
// machine. A family is a file with a function that adds its rows.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace upg::bench {

struct Options {
  bool tiny = false;  // sizes that only show that everything works
  bool all = false;   // every codec x backend x shape x batch, not the selection
  int threads = 1;    // the most that are used
  std::vector<std::filesystem::path> models;
};

// An iteration needs this much of what the benchmark `limit` counts.
struct Bound {
  std::string limit;
  double amount = 0;
};

struct Benchmark {
  std::string name;  // "product/5120x5120/path3/avx2/batch:1"
  std::map<std::string, std::string> labels;
  double amount = 0;  // of `unit` an iteration
  std::string unit;
  std::vector<Bound> bounds;
  // Neighbours in a round where equal: they share what is costly to set up.
  std::string group;
  bool manual_time = false;  // the body calls SetIterationTime
  std::function<void(benchmark::State&)> body;
};

using Suite = std::vector<Benchmark>;

void add_limits(const Options& options, Suite& suite);
void add_products(const Options& options, Suite& suite);
void add_scaling(const Options& options, Suite& suite);
void add_first_design(const Options& options, Suite& suite);
void add_decompression(const Options& options, Suite& suite);
void add_primes(const Options& options, Suite& suite);
void add_operations(const Options& options, Suite& suite);
void add_coding(const Options& options, Suite& suite);
void add_starts(const Options& options, Suite& suite);
void add_models(const Options& options, Suite& suite);
// Of the book's first prompt, by this process, which should have done nothing before.
double first_prompt_seconds(const std::filesystem::path& model, const Options& options);
// A GPU's, and of NVIDIA's libraries on it; nothing where there is none, or no such library.
void add_device_limits(const Options& options, Suite& suite);
void add_cublas(const Options& options, Suite& suite);
void add_cusparse(const Options& options, Suite& suite);

// A square one, then those of Phi-4 that are not square: qkv, gate_up, down, head.
std::vector<std::pair<int64_t, int64_t>> product_shapes(const Options& options);
// The backend that create_backend() takes by itself on the CPU.
std::string best_cpu();
// The CUDA backend is built and finds a device.
bool has_device();
inline constexpr int64_t kStreamedDeviceBytes = int64_t{256} << 20;  // more than its caches

// Names of limits, for bounds.
std::string read_limit(int threads);
std::string write_limit(int threads);
std::string int8_limit(std::string_view table, int threads);  // empty: none for this table
inline constexpr const char* kLoadLimit = "limit/loads";
inline constexpr const char* kDeviceReadLimit = "limit/cuda/read";

// Models that are kept from one benchmark to the next of their group are dropped: files are no
// longer mapped.
void forget();
void on_forget(std::function<void()> drop);

// Each iteration takes this share longer than it would: shows that a regression is found.
void set_slowdown(double share);
double slowdown();

inline double seconds_now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

// The timed loop, after one run that warms caches, page tables and clocks.
template <class Body>
void time_loop(benchmark::State& state, const Body& body) {
  body();
  if (slowdown() == 0) {
    for (auto _ : state) body();
    return;
  }
  for (auto _ : state) {
    const double begin = seconds_now();
    body();
    const double end = seconds_now() + slowdown() * (seconds_now() - begin);
    while (seconds_now() < end) benchmark::ClobberMemory();
  }
}

// The same for a device that works off a queue: `time` runs so many iterations and returns their
// seconds. For benchmarks with manual_time.
template <class Time>
void time_batch(benchmark::State& state, const Time& time) {
  time(1);
  while (state.KeepRunningBatch(state.max_iterations)) {
    state.SetIterationTime((1 + slowdown()) * time(state.max_iterations));
  }
}

}  // namespace upg::bench
