// How fast calibrated coding goes, one core: weights a second with error feedback at 2, 3 and 4
// bits, tokens a second of the moments, the factorisation.
//
//   calibration_bench --benchmark_filter=code
#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/threads.h"
#include "codec/path_assembly.h"
#include "codec/path_palette.h"
#include "compress/coding_problem.h"
#include "compress/feedback_coder.h"
#include "compress/linear_algebra.h"
#include "compress/moments.h"

namespace {

using namespace upg;               // NOLINT(google-build-using-namespace)
using namespace upg::compression;  // NOLINT(google-build-using-namespace)

constexpr int64_t kRows = 128;

std::vector<float> gaussian(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// Inputs with neighbours that go together, as activations have them.
std::vector<float> inputs(int64_t tokens, int64_t cols) {
  std::vector<float> x = gaussian(tokens * cols, 1);
  for (size_t i = 1; i < x.size(); ++i) x[i] += 0.7f * x[i - 1];
  return x;
}

MomentSums sums_of(int64_t tokens, int64_t cols) {
  base::ThreadTeam team(1);
  const std::vector<float> x = inputs(tokens, cols);
  MomentSums sums(cols, false, 0);
  sums.add(x.data(), x.data(), tokens, team);
  return sums;
}

void code(benchmark::State& state) {
  const auto bits = static_cast<int>(state.range(0));
  const int64_t cols = state.range(1);
  const CodingProblem problem(sums_of(cols, cols).in_basis(nullptr), 0.01, "bench");
  const codec::PathFit fit = codec::gaussian_fit(bits);
  const FeedbackCoder coder(problem, fit, CodingOptions());
  const std::vector<float> rows = gaussian(kRows * cols, 2);
  for (auto _ : state) {
    codec::PathAssembly assembly(kRows, cols, fit.palettes);
    benchmark::DoNotOptimize(coder.code(0, kRows, rows.data(), assembly));
  }
  state.counters["weights/s"] = benchmark::Counter(static_cast<double>(kRows * cols),
                                                   benchmark::Counter::kIsIterationInvariantRate);
}

void moments(benchmark::State& state) {
  const int64_t cols = state.range(0);
  const int64_t tokens = 1024;
  base::ThreadTeam team(1);
  const std::vector<float> x = inputs(tokens, cols);
  const std::vector<float> original = inputs(tokens, cols);
  MomentSums sums(cols, true, 0);
  for (auto _ : state) sums.add(x.data(), original.data(), tokens, team);
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(tokens),
                                                  benchmark::Counter::kIsIterationInvariantRate);
}

void factor(benchmark::State& state) {
  const MomentSums sums = sums_of(state.range(0), state.range(0));
  for (auto _ : state) {
    benchmark::DoNotOptimize(CodingProblem(sums.in_basis(nullptr), 0.01, "bench").cols());
  }
}

BENCHMARK(code)->ArgsProduct({{2, 3, 4}, {1024, 5120}})->Unit(benchmark::kMillisecond);
BENCHMARK(moments)->Arg(1024)->Arg(5120)->Unit(benchmark::kMillisecond);
BENCHMARK(factor)->Arg(1024)->Arg(5120)->Unit(benchmark::kMillisecond);

}  // namespace

int main(int argc, char** argv) {
  use_one_blas_thread();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
