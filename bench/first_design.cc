// The first design's product on the CPU, as its reports describe it: a plain loop on one thread
// over the arrays of an MdCSR matrix, half of whose weights are zero.
#include <memory>
#include <random>

#include "codec/primes.h"
#include "random_matrix.h"
#include "suite.h"

namespace upg::bench {
namespace {

void product(const codec::MdcsrMatrix& w, int64_t rows, const float* x, float* y) {
  for (int64_t row = 0; row < rows; ++row) {
    float sum = 0;
    int64_t column = 0;
    for (uint32_t k = w.row_pointers[row]; k < w.row_pointers[row + 1]; ++k) {
      column += w.deltas[k];
      const float value = static_cast<float>(w.values[k]) / 127.0f;
      sum += w.scale[row] * value * codec::prime_value(w.prime_indices[k]) * x[column];
    }
    y[row] = sum;
  }
}

void first_design(benchmark::State& state, int64_t side) {
  const MatrixCopies& copies = kept_copies("mdcsr", side, side, 0);
  const auto& w = std::get<codec::MdcsrMatrix>(copies.matrices().front().view);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(side));
  std::vector<float> y(x.size());
  for (float& value : x) value = normal(random);
  time_loop(state, [&] {
    product(w, side, x.data(), y.data());
    benchmark::DoNotOptimize(y.data());
  });
}

}  // namespace

void add_first_design(const Options& options, Suite& suite) {
  const int64_t side = options.tiny ? 512 : 5120;
  const std::string shape = std::to_string(side) + "x" + std::to_string(side);
  const auto bytes = static_cast<double>(stored_bytes("mdcsr", side, side));
  suite.push_back({.name = "first_design/cpu/" + shape,
                   .labels = {{"codec", "mdcsr"}, {"threads", "1"}},
                   .amount = static_cast<double>(side * side) / 2,
                   .unit = "weights",
                   .bounds = {{read_limit(1), bytes}},
                   .group = "first_design",
                   .manual_time = false,
                   .body = [=](auto& state) { first_design(state, side); }});
}

}  // namespace upg::bench
