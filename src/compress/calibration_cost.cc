#include "compress/calibration_cost.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <numeric>

#include "base/checked.h"
#include "base/threads.h"
#include "codec/matrix.h"
#include "codec/owned_matrix.h"
#include "codec/path_layout.h"
#include "codec/rotation.h"
#include "compress/calibrated_encode.h"
#include "compress/calibration.h"
#include "compress/estimate.h"
#include "compress/linear_algebra.h"
#include "compress/moments.h"
#include "compress/row_reader.h"
#include "kernels/backend.h"

namespace upg::compression {
namespace {

using model::Role;
using model::TensorSpec;

constexpr int64_t kNarrow = 256;  // the two widths
constexpr int64_t kWide = 1024;
constexpr int kTokens = 256;
constexpr int kHeads = 8;  // attention is measured on that many at most
constexpr int kTrainBlocks = 2048;

// The shorter of two runs: the first one also warms up.
template <class Action>
double seconds_of(const Action& action) {
  double best = 0;
  for (int run = 0; run < 2; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    action();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = run == 0 ? took.count() : std::min(best, took.count());
  }
  return best;
}

// a + b * width through two points; never falling.
struct Line {
  Line() = default;
  Line(double narrow, double wide)
      : slope(std::max(0.0, (wide - narrow) / static_cast<double>(kWide - kNarrow))),
        start(std::max(0.0, narrow - slope * static_cast<double>(kNarrow))) {}
  double at(double width) const { return start + slope * width; }
  double slope = 0;
  double start = 0;
};

// ---- the kernels

struct KernelRates {
  double original = 0;    // seconds a weight and token
  double compressed = 0;  // the same of coded weights
  double attention = 0;   // seconds a head, of a whole window
};

double product_seconds(kernels::Backend& backend, const codec::Matrix& matrix) {
  kernels::Linear linear;
  linear.rows = matrix.rows;
  linear.cols = matrix.cols;
  linear.parts.push_back({backend.load(matrix), {}});
  const kernels::Buffer x = backend.allocate(static_cast<size_t>(kTokens * kWide) * sizeof(float));
  const kernels::Buffer y = backend.allocate(x.size());
  const std::vector<float> values = gaussian_like(kTokens * kWide);
  backend.upload(x.floats(), values.data(), x.size());
  const double seconds = seconds_of([&] {
    backend.matmul(y.floats(), linear, backend.prepare(x.floats(), kTokens, linear), kTokens,
                   kernels::Store::kSet);
    backend.synchronise();
  });
  return seconds / static_cast<double>(kWide * kWide * kTokens);
}

double attention_seconds(kernels::Backend& backend, const model::ModelConfig& config, int tokens) {
  kernels::AttentionShape shape = config.attention;
  shape.heads = std::min(shape.heads, kHeads);
  shape.kv_heads = 1;
  const auto floats = [&](int64_t cols) {
    return backend.allocate(static_cast<size_t>(tokens * cols) * sizeof(float));
  };
  std::vector<int32_t> pages(static_cast<size_t>(base::ceil_div(tokens, kernels::kPageTokens)));
  std::iota(pages.begin(), pages.end(), 0);
  const std::vector<int32_t> ids(static_cast<size_t>(tokens));
  const kernels::SequenceSlice slice{.first = 0, .tokens = tokens, .past = 0, .pages = pages};
  const kernels::Rope* rope = &config.rope;
  backend.begin_step({.tokens = tokens, .ids = ids, .sequences = {&slice, 1}, .ropes = {&rope, 1}});
  const kernels::Buffer qkv = floats(shape.qkv_width());
  const kernels::Buffer out = floats(shape.q_width());
  const std::vector<float> values = gaussian_like(int64_t{tokens} * shape.qkv_width());
  backend.upload(qkv.floats(), values.data(), qkv.size());
  const size_t cache_bytes = pages.size() * kernels::kPageTokens *
                             kernels::kv_row_bytes(kernels::KvType::kF32, shape.head_dim);
  const kernels::Buffer k = backend.allocate(cache_bytes);
  const kernels::Buffer v = backend.allocate(cache_bytes);
  const kernels::KvLayer cache{.k = k.bytes(),
                               .v = v.bytes(),
                               .k_type = kernels::KvType::kF32,
                               .v_type = kernels::KvType::kF32};
  const double seconds = seconds_of([&] {
    backend.attention(out.floats(), qkv.floats(), shape, cache);
    backend.synchronise();
  });
  return seconds / shape.heads;
}

KernelRates measure_kernels(const Plan& plan, int tokens) {
  kernels::BackendOptions options;
  options.threads = plan.threads;
  const std::unique_ptr<kernels::Backend> backend = kernels::create_backend(options);
  const std::vector<float> weights = gaussian_like(kWide * kWide);
  codec::EncodeOptions raw;
  raw.raw_dtype = base::DType::kBF16;
  const auto as = [&](const char* codec) {
    return codec::encode_matrix(*codec::find_codec(codec), kWide, kWide, weights.data(), {}, raw);
  };
  KernelRates rates;
  rates.original = product_seconds(*backend, as("raw").view());
  rates.compressed = product_seconds(*backend, as("path3").view());
  if (tokens > 0) rates.attention = attention_seconds(*backend, plan.source.config, tokens);
  return rates;
}

// ---- BLAS and the coder

// One small problem of each width, and what making it took.
struct Probe {
  Probe(int64_t columns, base::ThreadTeam& team)
      : cols(columns), values(gaussian_like(columns * kTokens)), sums(columns, true, 0) {
    moments_seconds = seconds_of([&] { sums.add(values.data(), values.data(), kTokens, team); });
    problem_seconds =
        seconds_of([&] { problem.emplace(sums.in_basis(nullptr), 0.01, "estimate"); });
  }

  int64_t cols;
  std::vector<float> values;
  MomentSums sums;
  std::optional<CodingProblem> problem;
  double moments_seconds = 0;
  double problem_seconds = 0;
};

struct CoderRates {
  Line a_weight;           // on one thread, by width
  double train_block = 0;  // once a matrix
};

class Rates {
 public:
  explicit Rates(const Plan& plan)
      : team_(plan.threads), narrow_(kNarrow, team_), wide_(kWide, team_) {
    const auto n = static_cast<double>(kWide);
    moment_ = wide_.moments_seconds / (n * n * kTokens);
    // Turning and sorting go with the square of the width, the factor with its cube.
    const auto over_square = [](const Probe& probe) {
      const auto width = static_cast<double>(probe.cols);
      return probe.problem_seconds / (width * width);
    };
    problem_ = Line(over_square(narrow_), over_square(wide_));
  }

  double moments(double cols, double tokens) const { return moment_ * cols * cols * tokens; }
  double problem(double cols) const { return problem_.at(cols) * cols * cols; }

  double coding(const Storage& storage, int64_t rows, int64_t cols) {
    const auto [found, fresh] = coders_.try_emplace({storage.codec, storage.rotated});
    if (fresh) found->second = measure(storage);
    const CoderRates& rates = found->second;
    const double blocks = static_cast<double>(std::min(
        sample_rows(rows, cols) * (cols / codec::kBlockColumns + 1), int64_t{kTrainBlocks}));
    const double chunks = static_cast<double>(rows) * static_cast<double>(cols) / (1 << 19);
    const double threads = std::clamp(chunks, 1.0, static_cast<double>(team_.size()));
    return rates.train_block * blocks + rates.a_weight.at(static_cast<double>(cols)) *
                                            static_cast<double>(rows) * static_cast<double>(cols) /
                                            threads;
  }

 private:
  CoderRates measure(const Storage& storage) {
    CoderRates rates;
    const double narrow = a_weight(storage, narrow_, rates);
    rates.a_weight = Line(narrow, a_weight(storage, wide_, rates));
    return rates;
  }

  // On one thread: so few rows are one chunk.
  double a_weight(const Storage& storage, const Probe& probe, CoderRates& rates) {
    constexpr int64_t kRows = 64;
    const std::vector<float> values = gaussian_like(kRows * probe.cols);
    const base::TensorView view = {
        base::DType::kF32, {kRows, probe.cols}, std::as_bytes(std::span(values))};
    const SourceMatrix source = {
        .where = "estimate", .view = &view, .rows = kRows, .cols = probe.cols, .release = {}};
    const std::vector<uint8_t> signs = codec::make_signs("estimate", probe.cols);
    CodingLoss loss;
    const auto begin = std::chrono::steady_clock::now();
    const EncodedMatrix encoded =
        encode_calibrated(source, storage, storage.rotated ? signs.data() : nullptr,
                          *as_problem(*probe.problem), CodingOptions(), team_, {}, loss);
    rates.train_block =
        encoded.train_seconds /
        (static_cast<double>(kRows) * static_cast<double>(probe.cols) / codec::kBlockColumns);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    return (took.count() - encoded.train_seconds) / static_cast<double>(kRows * probe.cols);
  }

  base::ThreadTeam team_;
  Probe narrow_;
  Probe wide_;
  double moment_ = 0;  // a column, column and token
  Line problem_;       // a column and column, by width
  std::map<std::pair<const codec::Codec*, bool>, CoderRates> coders_;
};

// Weights that the text goes through on its way to a matrix's inputs from those of the matrix
// before it in the graph; the first of a layer also ends the layer before.
struct Way {
  double weights = 0;
  bool attention = false;
};

Way way_to(const TensorSpec& spec, const model::ModelConfig& config) {
  const auto hidden = static_cast<double>(config.hidden);
  const double mlp = 3 * hidden * static_cast<double>(config.intermediate);
  if (spec.role == Role::kHead) return {mlp, false};
  const std::string& name = spec.activation;
  if (name.ends_with("self_attn.input")) return {mlp, false};
  if (name.ends_with("o_proj.input")) {
    return {hidden * static_cast<double>(config.attention.qkv_width()), true};
  }
  if (name.ends_with("mlp.input")) {
    return {hidden * static_cast<double>(config.attention.q_width()), false};
  }
  return {2 * hidden * static_cast<double>(config.intermediate), false};
}

}  // namespace

std::vector<CalibrationCost> calibration_costs(const Plan& plan, const CompressOptions& options) {
  use_one_blas_thread();
  const model::ModelConfig& config = plan.source.config;
  const int tokens = window_tokens(config);
  const double windows = options.calibration_windows;
  const KernelRates kernels = measure_kernels(plan, tokens);
  Rates rates(plan);
  std::vector<CalibrationCost> costs(plan.storage.size());
  std::string activation;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const TensorSpec& spec = plan.source.specs[i];
    const Storage& storage = plan.storage[i];
    if (spec.role != Role::kMatrix && spec.role != Role::kHead) continue;
    const bool calibrated = Calibration::codes(spec, storage);
    const auto cols = static_cast<double>(codec::padded_cols(spec.cols));
    if (activation_of(spec) != activation) {
      activation = activation_of(spec);
      const Way way = way_to(spec, config);
      costs[i].forward =
          windows * (way.weights * tokens * (kernels.original + kernels.compressed) +
                     (way.attention ? 2 * kernels.attention * config.attention.heads : 0));
      if (calibrated) {
        costs[i].moments = windows * rates.moments(cols, tokens) + rates.problem(cols);
      }
    }
    if (calibrated) costs[i].coding = rates.coding(storage, spec.rows, spec.cols);
  }
  return costs;
}

double layer_seconds(const Plan& plan, double tokens) {
  const model::ModelConfig& config = plan.source.config;
  const KernelRates kernels = measure_kernels(plan, 0);
  const auto hidden = static_cast<double>(config.hidden);
  return tokens * kernels.original * hidden *
         (3 * static_cast<double>(config.intermediate) +
          static_cast<double>(config.attention.qkv_width() + config.attention.q_width()));
}

}  // namespace upg::compression
