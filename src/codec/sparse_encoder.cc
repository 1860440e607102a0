// The sparse encoder: the largest magnitudes of each row stay, as many in every row; their levels
// are fitted to the matrix (Lloyd 1957), the row's scale to its weights.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "base/check.h"
#include "codec/primes.h"
#include "codec/sparse.h"
#include "upg/error.h"

namespace upg::codec {
namespace {

constexpr int kLevels = 15;  // beside level 0
constexpr int kLloydRounds = 40;
constexpr int64_t kTrainWeights = 1 << 18;

// The kept weights of a row.
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

// Fifteen levels and the scale that belongs to them, as PathFit has it.
struct SparseFit {
  std::array<int8_t, 16> level = {};  // ascending from entry 1
  double levels_per_rms = 0;
};

// Lloyd's alternation on sorted samples: each level's share lies between the midpoints, the level
// moves to its mean.
std::array<double, kLevels> fit_levels(const std::vector<float>& sorted) {
  std::vector<double> sums(sorted.size() + 1);
  for (size_t i = 0; i < sorted.size(); ++i) sums[i + 1] = sums[i] + sorted[i];
  std::array<double, kLevels> levels;
  for (size_t i = 0; i < kLevels; ++i) {
    levels[i] = sorted[(2 * i + 1) * sorted.size() / (2 * size_t{kLevels})];
  }
  for (int round = 0; round < kLloydRounds; ++round) {
    size_t begin = 0;
    for (int i = 0; i < kLevels; ++i) {
      size_t end = sorted.size();
      if (i + 1 < kLevels) {
        const double middle = (levels[i] + levels[i + 1]) / 2;
        end = std::upper_bound(sorted.begin() + static_cast<int64_t>(begin), sorted.end(), middle) -
              sorted.begin();
      }
      if (end > begin) levels[i] = (sums[end] - sums[begin]) / static_cast<double>(end - begin);
      begin = end;
    }
  }
  return levels;
}

SparseFit to_fit(const std::array<double, kLevels>& levels) {
  double extreme = 0;
  for (const double level : levels) extreme = std::max(extreme, std::fabs(level));
  SparseFit fit;
  fit.levels_per_rms = kMaxLevel / extreme;
  for (int i = 0; i < kLevels; ++i) {
    fit.level[i + 1] = static_cast<int8_t>(std::lround(levels[i] * fit.levels_per_rms));
  }
  return fit;
}

// The nearest code by a table: midpoints between integer levels are multiples of a half, so that
// all targets with the same floor(2 target) have the same nearest level.
class NearestCode {
 public:
  explicit NearestCode(const std::array<int8_t, 16>& level) {
    for (int i = 0; i < kSize; ++i) {
      const int target = 2 * (i - kSize / 2) + 1;  // the cell's middle, times 4
      int best = 0;
      for (int code = 1; code < 16; ++code) {
        if (std::abs(4 * level[code] - target) < std::abs(4 * level[best] - target)) best = code;
      }
      code_[i] = static_cast<uint8_t>(best);
    }
  }
  uint8_t operator()(double target) const {
    const double cell = std::floor(2 * std::clamp(target, -63.0, 63.0));
    return code_[static_cast<int>(cell) + kSize / 2];
  }

 private:
  static constexpr int kSize = 256;  // cells of width 1/2 over [-64, 64)
  std::array<uint8_t, kSize> code_;
};

class SparseEncoder final : public Encoder {
 public:
  SparseEncoder(int64_t rows, int64_t cols, int64_t keep)
      : rows_(rows), cols_(cols), keep_(keep), scale_(static_cast<size_t>(rows)) {
    const int64_t code_bytes = sparse_code_bytes(rows, keep);
    if (code_bytes > int64_t{UINT32_MAX}) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("sparse: found {} bytes of codes in one matrix, allowed {}",
                              code_bytes, UINT32_MAX));
    }
    specs_ = sparse_parts(rows, cols, code_bytes);
    codes_.resize(static_cast<size_t>(specs_[0].shape[0]));
    mask_.resize(static_cast<size_t>(padded_rows(rows) * padded_cols(cols) / 8));
    // Gaussian rows at half density, until train() knows better.
    fit_ = to_fit(
        {-2.0, -1.5, -1.2, -1.0, -0.85, -0.7, -0.6, 0.55, 0.62, 0.72, 0.85, 1.0, 1.2, 1.5, 2.0});
  }

  void train(const float* rows, int64_t count) override {
    std::vector<float> sample;
    // Whole rows, evenly over what there is.
    const int64_t taken =
        std::min(count, std::max<int64_t>(1, kTrainWeights / std::max<int64_t>(1, keep_)));
    for (int64_t i = 0; i < taken; ++i) {
      const Survivors kept(rows + i * count / taken * cols_, cols_, keep_);
      const double rms = kept.rms();
      for (const float w : kept.weights) {
        if (w != 0) sample.push_back(static_cast<float>(w / rms));
      }
    }
    if (sample.empty()) return;
    std::sort(sample.begin(), sample.end());
    fit_ = to_fit(fit_levels(sample));
  }

  void encode(int64_t first_row, int64_t count, const float* rows) override {
    const NearestCode nearest(fit_.level);
    for (int64_t r = 0; r < count; ++r) encode_row(nearest, first_row + r, rows + r * cols_);
  }

  std::vector<Part> finish() override {
    std::vector<uint16_t> palette(32, entry_of(0));
    for (int i = 0; i < 16; ++i) palette[static_cast<size_t>(i)] = entry_of(fit_.level[i]);
    std::vector<uint32_t> offsets;
    for (int64_t row = 0; row <= padded_rows(rows_); row += kGroupRows) {
      offsets.push_back(static_cast<uint32_t>(sparse_code_bytes(std::min(row, rows_), keep_)));
    }
    std::vector<Part> parts(5);
    parts[0].bytes = std::move(codes_);
    parts[1].bytes = std::move(mask_);
    const std::span<const std::byte> rest[] = {std::as_bytes(std::span(offsets)),
                                               std::as_bytes(std::span(palette)),
                                               std::as_bytes(std::span(scale_))};
    for (size_t i = 0; i < 3; ++i) parts[2 + i].bytes.assign(rest[i].begin(), rest[i].end());
    for (size_t i = 0; i < parts.size(); ++i) parts[i].spec = specs_[i];
    return parts;
  }

 private:
  void encode_row(const NearestCode& nearest, int64_t row, const float* w) {
    const Survivors kept(w, cols_, keep_);
    std::byte* mask = mask_.data() + row * padded_cols(cols_) / 8;
    for (const int32_t c : kept.columns) mask[c / 8] |= std::byte{1} << (c % 8);
    std::vector<uint8_t> codes(kept.weights.size());
    double scale = kMaxLevel * kept.rms() / fit_.levels_per_rms;
    for (int round = 0; round < 2 && scale > 0; ++round)
      scale = choose(nearest, kept, scale, codes);
    scale_[static_cast<size_t>(row)] =
        static_cast<float>(std::min(scale, static_cast<double>(std::numeric_limits<float>::max())));
    // In codes: the group's start, then the rows above in the group.
    int64_t at =
        sparse_code_bytes(row / kGroupRows * kGroupRows, keep_) * 2 + row % kGroupRows * keep_;
    for (const uint8_t code : codes) {
      codes_[static_cast<size_t>(at / 2)] |= static_cast<std::byte>(code << (at % 2 * 4));
      ++at;
    }
  }

  // The nearest codes for a scale; returns the scale that is best for them.
  double choose(const NearestCode& nearest, const Survivors& kept, double scale,
                std::vector<uint8_t>& codes) const {
    const double factor = kMaxLevel / scale;
    double product = 0, square = 0;
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = nearest(kept.weights[i] * factor);
      const int level{fit_.level[codes[i]]};
      product += static_cast<double>(kept.weights[i]) * level;
      square += level * level;
    }
    return square > 0 && product > 0 ? kMaxLevel * product / square : scale;
  }

  int64_t rows_, cols_, keep_;
  SparseFit fit_;
  std::vector<PartSpec> specs_;
  std::vector<std::byte> codes_, mask_;
  std::vector<float> scale_;
};

}  // namespace

std::unique_ptr<Encoder> make_sparse_encoder(int64_t rows, int64_t cols, int64_t stored_cols,
                                             double sparsity) {
  UPG_CHECK(stored_cols == cols);
  return std::make_unique<SparseEncoder>(rows, cols, kept_columns(cols, sparsity));
}

}  // namespace upg::codec
