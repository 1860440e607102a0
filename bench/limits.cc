// What the machine itself can do: the benchmarks that all others are held against.
#include <array>
#include <cstring>
#include <numeric>

#include "base/machine.h"
#include "base/memory.h"
#include "base/threads.h"
#include "int8_peak.h"
#include "kernels/backend.h"
#include "suite.h"

namespace upg::bench {
namespace {

constexpr double kReadBytes = 512 << 20;  // what ReadProbe reads in a pass
constexpr double kPeakOperations = 1e9;
constexpr size_t kLoads = 4096;

// The probe's best of one to eight streams a thread, as the time of a pass.
void read(benchmark::State& state, int threads) {
  static std::map<int, std::unique_ptr<base::ReadProbe>> probes;
  std::unique_ptr<base::ReadProbe>& probe = probes[threads];
  if (!probe) probe = std::make_unique<base::ReadProbe>(threads);
  for (auto _ : state) state.SetIterationTime(kReadBytes / probe->measure(0));
}

void write(benchmark::State& state, int threads, size_t bytes) {
  base::ThreadTeam team(threads);
  static std::vector<char> memory;  // kept: the first touch takes longer than filling
  if (memory.size() < bytes) {
    memory.reserve(bytes);
    base::advise_huge_pages({reinterpret_cast<const std::byte*>(memory.data()), bytes});
    memory.resize(bytes);
  }
  time_loop(state, [&] {
    team.for_ranges(static_cast<int64_t>(bytes), 4096, [&](int64_t begin, int64_t end, int) {
      std::memset(memory.data() + begin, 1, static_cast<size_t>(end - begin));
    });
    benchmark::ClobberMemory();
  });
}

void int8_products(benchmark::State& state, const std::string& table, int threads) {
  base::ThreadTeam team(threads);
  std::vector<double> rates(static_cast<size_t>(threads));
  for (auto _ : state) {
    team.run(
        [&](int thread) { rates[static_cast<size_t>(thread)] = measure_int8_peak(table, 0.002); });
    state.SetIterationTime(kPeakOperations / std::accumulate(rates.begin(), rates.end(), 0.0));
  }
}

// Single words from the first cache, eight sums side by side: what a look-up needs two of.
void loads(benchmark::State& state) {
  std::array<uint32_t, kLoads> words;
  std::iota(words.begin(), words.end(), 1u);
  const volatile uint32_t* from = words.data();  // volatile: one load instruction a word
  uint32_t sums[8] = {};
  time_loop(state, [&] {
    for (size_t i = 0; i < kLoads; i += 8) {
      for (size_t j = 0; j < 8; ++j) sums[j] += from[i + j];
    }
    benchmark::DoNotOptimize(sums);
  });
}

void add_of_threads(const Options& options, int threads, Suite& suite) {
  const std::string count = std::to_string(threads);
  suite.push_back({.name = read_limit(threads),
                   .labels = {{"threads", count}},
                   .amount = kReadBytes,
                   .unit = "bytes",
                   .bounds = {},
                   .group = "limits",
                   .manual_time = true,
                   .body = [=](auto& state) { read(state, threads); }});
  const size_t written = size_t{options.tiny ? 8u : 100u} << 20;
  suite.push_back({.name = write_limit(threads),
                   .labels = {{"threads", count}},
                   .amount = static_cast<double>(written),
                   .unit = "bytes",
                   .bounds = {},
                   .group = "limits",
                   .manual_time = false,
                   .body = [=](auto& state) { write(state, threads, written); }});
  for (const kernels::BackendRow& row : kernels::all_backends()) {
    const std::string name = int8_limit(row.name, threads);
    if (name.empty()) continue;
    suite.push_back({.name = name,
                     .labels = {{"threads", count}, {"backend", std::string(row.name)}},
                     .amount = kPeakOperations,
                     .unit = "operations",
                     .bounds = {},
                     .group = "limits",
                     .manual_time = true,
                     .body = [=, table = std::string(row.name)](auto& state) {
                       int8_products(state, table, threads);
                     }});
  }
}

}  // namespace

std::string read_limit(int threads) { return "limit/read/threads:" + std::to_string(threads); }

std::string write_limit(int threads) { return "limit/write/threads:" + std::to_string(threads); }

std::string int8_limit(std::string_view table, int threads) {
  const auto rows = kernels::all_backends();
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const auto& candidate) { return candidate.name == table; });
  if (row == rows.end() || !row->supported() || !has_int8_peak(table)) return "";
  return "limit/int8/" + std::string(table) + "/threads:" + std::to_string(threads);
}

void add_limits(const Options& options, Suite& suite) {
  add_of_threads(options, 1, suite);
  if (options.threads > 1) add_of_threads(options, options.threads, suite);
  suite.push_back({.name = kLoadLimit,
                   .labels = {{"threads", "1"}},
                   .amount = kLoads,
                   .unit = "loads",
                   .bounds = {},
                   .group = "limits",
                   .manual_time = false,
                   .body = loads});
}

}  // namespace upg::bench
