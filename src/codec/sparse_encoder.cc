// The sparse encoder: the largest magnitudes of each row stay, as many in every row; their levels
// are fitted to the matrix (Lloyd 1957), the row's scale to its weights.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/check.h"
#include "codec/primes.h"
#include "codec/prune.h"
#include "codec/sparse.h"
#include "codec/sparse_assembly.h"
#include "codec/sparse_levels.h"

namespace upg::codec {
namespace {

constexpr int64_t kTrainWeights = 1 << 18;

// The kept weights of a row: at most `keep`, none of them zero where there is a choice.
struct Survivors {
  std::vector<int32_t> columns;
  std::vector<float> weights;

  Survivors(const float* row, int64_t cols, int64_t keep)
      : columns(largest_columns({row, static_cast<size_t>(cols)}, keep)) {
    weights.reserve(columns.size());
    for (const int32_t column : columns) weights.push_back(row[column]);
  }
  double rms() const {
    double sum = 0;
    for (const float w : weights) sum += static_cast<double>(w) * w;
    return weights.empty() ? 0 : std::sqrt(sum / static_cast<double>(weights.size()));
  }
};

class SparseEncoder final : public Encoder {
 public:
  // keep: weights of a row that are stored; nothing: those that are not zero.
  SparseEncoder(int64_t rows, int64_t cols, std::optional<int64_t> keep)
      : rows_(rows), cols_(cols), keep_(keep), fit_(gaussian_sparse_fit()) {}

  void train(const float* rows, int64_t count) override {
    std::vector<float> sample;
    // Whole rows, evenly over what there is.
    const int64_t a_row = std::max<int64_t>(1, keep_.value_or(cols_));
    const int64_t taken = std::min(count, std::max<int64_t>(1, kTrainWeights / a_row));
    for (int64_t i = 0; i < taken; ++i) {
      const Survivors kept = survivors(rows + i * count / taken * cols_);
      const double rms = kept.rms();
      for (const float w : kept.weights) {
        if (w != 0) sample.push_back(static_cast<float>(w / rms));
      }
    }
    fit_ = fit_sparse_levels(std::move(sample));
    assembly_.emplace(rows_, cols_, fit_);
  }

  void encode(int64_t first_row, int64_t count, const float* rows) override {
    UPG_CHECK(assembly_.has_value());
    const NearestCode nearest(fit_.level);
    std::vector<uint8_t> codes(static_cast<size_t>(count * cols_), SparseAssembly::kNotStored);
    std::vector<float> scales(static_cast<size_t>(count));
    for (int64_t r = 0; r < count; ++r) {
      scales[static_cast<size_t>(r)] =
          encode_row(nearest, rows + r * cols_, codes.data() + r * cols_);
    }
    assembly_->set_rows(first_row, count, codes.data(), scales.data());
  }

  std::vector<Part> finish() override { return assembly_->finish(); }

 private:
  Survivors survivors(const float* row) const {
    const int64_t keep = keep_ ? *keep_ : cols_ - std::count(row, row + cols_, 0.0f);
    return {row, cols_, keep};
  }

  // Returns the row's scale.
  float encode_row(const NearestCode& nearest, const float* w, uint8_t* out) const {
    const Survivors kept = survivors(w);
    std::vector<uint8_t> codes(kept.weights.size());
    double scale = kMaxLevel * kept.rms() / fit_.levels_per_rms;
    for (int round = 0; round < 2 && scale > 0; ++round)
      scale = choose(nearest, kept, scale, codes);
    for (size_t i = 0; i < codes.size(); ++i) out[kept.columns[i]] = codes[i];
    return static_cast<float>(
        std::min(scale, static_cast<double>(std::numeric_limits<float>::max())));
  }

  // The nearest codes for a scale; returns the scale that is best for them.
  double choose(const NearestCode& nearest, const Survivors& kept, double scale,
                std::vector<uint8_t>& codes) const {
    const double factor = kMaxLevel / scale;
    double product = 0, square = 0;
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = nearest(static_cast<float>(kept.weights[i] * factor));
      const int level{fit_.level[codes[i]]};
      product += static_cast<double>(kept.weights[i]) * level;
      square += level * level;
    }
    return square > 0 && product > 0 ? kMaxLevel * product / square : scale;
  }

  int64_t rows_, cols_;
  std::optional<int64_t> keep_;
  SparseFit fit_;
  std::optional<SparseAssembly> assembly_;
};

}  // namespace

std::unique_ptr<Encoder> make_sparse_encoder(int64_t rows, int64_t cols, int64_t stored_cols,
                                             const EncodeOptions& options) {
  UPG_CHECK(stored_cols == cols);
  std::optional<int64_t> keep;
  if (!options.stored_weights) keep = kept_columns(cols, options.sparsity);
  return std::make_unique<SparseEncoder>(rows, cols, keep);
}

}  // namespace upg::codec
