// How fast weights become codes, on one core: whole encoders, training, the search of each
// instruction set, rotation; and with calibration the feedback coder, moments, factorisation.
#include <memory>
#include <random>

#include "base/threads.h"
#include "codec/codec.h"
#include "codec/path_assembly.h"
#include "codec/path_palette.h"
#include "codec/path_viterbi.h"
#include "codec/rotation.h"
#include "compress/coding_problem.h"
#include "compress/feedback_coder.h"
#include "compress/linear_algebra.h"
#include "compress/moments.h"
#include "suite.h"

namespace upg::bench {
namespace {

using codec::Codec;
using codec::ViterbiVariant;
using compression::CodingProblem;

constexpr int64_t kRows = 64;
constexpr int64_t kChains = 4096;
constexpr int64_t kTokens = 1024;

struct Shape {
  int64_t rows;
  int64_t cols;
};

std::vector<float> gaussian(int64_t count, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// The whole encoder after training: scales, search, scales again, packing.
void encode(benchmark::State& state, const Codec& codec, Shape shape) {
  const std::vector<float> w = gaussian(shape.rows * shape.cols);
  const auto encoder = codec.encoder(shape.rows, shape.cols, shape.cols, {});
  encoder->train(w.data(), shape.rows);
  time_loop(state, [&] { encoder->encode(0, shape.rows, w.data()); });
}

void train(benchmark::State& state, const Codec& codec, Shape shape) {
  const std::vector<float> w = gaussian(shape.rows * shape.cols);
  time_loop(state, [&] {
    codec.encoder(shape.rows, shape.cols, shape.cols, {})->train(w.data(), shape.rows);
  });
}

void search(benchmark::State& state, const ViterbiVariant& variant, int bits) {
  const codec::PathFit fit = codec::gaussian_fit(bits);
  std::vector<float> targets = gaussian(kChains * codec::kChainLength);
  for (float& target : targets) target *= fit.levels_per_rms;
  std::vector<uint8_t> codes(targets.size());
  time_loop(state, [&] {
    variant.encode(fit.palettes, targets.data(), kChains, kChains, codes.data());
    benchmark::DoNotOptimize(codes.data());
  });
}

void rotate(benchmark::State& state, Shape shape) {
  std::vector<float> w = gaussian(shape.rows * shape.cols);
  const std::vector<uint8_t> signs = codec::make_signs("x", shape.cols);
  time_loop(state, [&] {
    codec::rotate(w.data(), shape.rows, shape.cols, signs.data());
    benchmark::DoNotOptimize(w.data());
  });
}

// Inputs with neighbours that go together, as activations have them.
std::vector<float> inputs(int64_t tokens, int64_t cols) {
  std::vector<float> x = gaussian(tokens * cols);
  for (size_t i = 1; i < x.size(); ++i) x[i] += 0.7f * x[i - 1];
  return x;
}

compression::MomentSums sums_of(int64_t tokens, int64_t cols) {
  base::ThreadTeam team(1);
  const std::vector<float> x = inputs(tokens, cols);
  compression::MomentSums sums(cols, false, 0);
  sums.add(x.data(), x.data(), tokens, team);
  return sums;
}

void feedback(benchmark::State& state, int bits, Shape shape) {
  const CodingProblem problem(sums_of(shape.cols, shape.cols).in_basis(nullptr), 0.01, "bench");
  const codec::PathFit fit = codec::gaussian_fit(bits);
  const compression::FeedbackCoder coder(problem, fit, compression::CodingOptions());
  const std::vector<float> rows = gaussian(shape.rows * shape.cols, 2);
  time_loop(state, [&] {
    codec::PathAssembly assembly(shape.rows, shape.cols, fit.palettes);
    benchmark::DoNotOptimize(coder.code(0, shape.rows, rows.data(), assembly));
  });
}

void moments(benchmark::State& state, int64_t cols) {
  base::ThreadTeam team(1);
  const std::vector<float> x = inputs(kTokens, cols);
  compression::MomentSums sums(cols, true, 0);
  time_loop(state, [&] { sums.add(x.data(), x.data(), kTokens, team); });
}

void factor(benchmark::State& state, int64_t cols) {
  const compression::MomentSums sums = sums_of(cols, cols);
  time_loop(state, [&] {
    benchmark::DoNotOptimize(CodingProblem(sums.in_basis(nullptr), 0.01, "bench").cols());
  });
}

class Table {
 public:
  explicit Table(Suite& suite) : suite_(suite) {}

  void add(const std::string& name, double amount, const char* unit,
           std::function<void(benchmark::State&)> body) {
    suite_.push_back({.name = "coding/" + name,
                      .labels = {{"threads", "1"}},
                      .amount = amount,
                      .unit = unit,
                      .bounds = {},
                      .group = "coding",
                      .manual_time = false,
                      .body = std::move(body)});
  }

 private:
  Suite& suite_;
};

void add_searches(Table& table) {
  for (const ViterbiVariant& variant : codec::viterbi_variants()) {
    if (!variant.supported()) continue;
    for (int bits = 2; bits <= 4; ++bits) {
      table.add("search/" + std::string(variant.name) + "/bits:" + std::to_string(bits),
                static_cast<double>(kChains * codec::kChainLength), "weights",
                [&variant, bits](auto& state) { search(state, variant, bits); });
    }
  }
}

void add_calibrated(Table& table, Shape shape) {
  compression::use_one_blas_thread();
  for (int bits = 2; bits <= 4; ++bits) {
    table.add("calibrated/path" + std::to_string(bits),
              static_cast<double>(shape.rows * shape.cols), "weights",
              [=](auto& state) { feedback(state, bits, shape); });
  }
  table.add("moments", static_cast<double>(kTokens), "tokens",
            [=](auto& state) { moments(state, shape.cols); });
  table.add("factorisation", static_cast<double>(shape.cols * shape.cols), "elements",
            [=](auto& state) { factor(state, shape.cols); });
}

}  // namespace

void add_coding(const Options& options, Suite& suite) {
  const Shape shape = {options.tiny ? 32 : kRows, options.tiny ? 512 : 5120};
  const auto weights = static_cast<double>(shape.rows * shape.cols);
  Table table(suite);
  for (const Codec& codec : codec::all_codecs()) {
    const std::string name(codec.name);
    table.add("encode/" + name, weights, "weights",
              [&codec, shape](auto& state) { encode(state, codec, shape); });
    if (options.tiny) continue;
    table.add("train/" + name, weights, "weights",
              [&codec, shape](auto& state) { train(state, codec, shape); });
  }
  table.add("rotate", weights, "weights", [shape](auto& state) { rotate(state, shape); });
  add_searches(table);
  add_calibrated(table, {2 * shape.rows, options.tiny ? 256 : 1024});
}

}  // namespace upg::bench
