// The path encoder: a scale a row, then the best path of every chain, then the scale again by least
// squares. Rows are independent of each other once the palettes are known, so the bytes
// do not depend on how they were divided among threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "base/check.h"
#include "codec/path.h"
#include "codec/path_layout.h"
#include "codec/path_palette.h"
#include "codec/path_viterbi.h"
#include "codec/primes.h"

namespace upg::codec {
namespace {

// A row is searched again where the first search moved its scale by more than this share: rows
// with heavy tails, whose error that lowers by 1 to 3 %. Gaussian rows gain nothing and do not
// move.
constexpr float kScaleMoved = 1.0f / 128;
constexpr int64_t kTrainBlocks = 2048;

double root_mean_square(const float* w, int64_t count) {
  double lanes[8] = {};  // a fixed order that still fills a register
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int k = 0; k < 8; ++k) lanes[k] += static_cast<double>(w[i + k]) * w[i + k];
  }
  double sum = 0;
  for (; i < count; ++i) sum += static_cast<double>(w[i]) * w[i];
  for (const double lane : lanes) sum += lane;
  return std::sqrt(sum / static_cast<double>(count));
}

float to_scale(double scale) {
  return static_cast<float>(
      std::min(scale, static_cast<double>(std::numeric_limits<float>::max())));
}

constexpr int kRun = 4;  // neighbouring columns that are neighbouring chains: b of the layout

// One block's weights, times `factor`, to its eight chains: targets [16, stride].
void spread_block(const float* w, double factor, int64_t stride, float* targets) {
  float scaled[kBlockColumns];
  for (int c = 0; c < kBlockColumns; ++c) scaled[c] = static_cast<float>(w[c] * factor);
  for (int p = 0; p < kChainLength; ++p) {
    for (int chain = 0; chain < kChainsPerBlock; chain += kRun) {
      std::memcpy(targets + p * stride + chain, scaled + column_of(chain, p), kRun * sizeof(float));
    }
  }
}

// The way back for the codes.
void gather_block(const uint8_t* chains, int64_t stride, uint8_t* codes) {
  for (int p = 0; p < kChainLength; ++p) {
    for (int chain = 0; chain < kChainsPerBlock; chain += kRun) {
      std::memcpy(codes + column_of(chain, p), chains + p * stride + chain, kRun);
    }
  }
}

// The sums of least squares: weights against levels.
class ScaleFit {
 public:
  explicit ScaleFit(const PathPalettes& palettes) {
    for (size_t pair = 0; pair < 256; ++pair) {
      level_[pair] = static_cast<float>(palettes.a[pair / 16] + palettes.b[pair % 16]);
    }
  }
  void reset() {
    std::fill_n(product_, kLanes, 0.0);
    std::fill_n(square_, kLanes, 0.0);
  }

  // codes: [128], w: [count], count <= 128.
  void add_block(const uint8_t* codes, const float* w, int64_t count) {
    uint8_t before[kBlockColumns];
    shift_chains(codes, before);
    float levels[kBlockColumns];
    for (int c = 0; c < kBlockColumns; ++c) levels[c] = level_[codes[c] * 16 + before[c]];
    std::fill(levels + count, levels + kBlockColumns, 0.0f);
    float padded[kBlockColumns] = {};
    std::copy_n(w, count, padded);
    for (int c = 0; c < kBlockColumns; c += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const double level = levels[c + lane];
        product_[lane] += padded[c + lane] * level;
        square_[lane] += level * level;
      }
    }
  }

  // The best scale, or the old one where there is none.
  float scale(float old) const {
    double product = 0, square = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      product += product_[lane];
      square += square_[lane];
    }
    if (!(product > 0) || !(square > 0)) return old;
    const float best = to_scale(kMaxLevel * product / square);
    return best > 0 ? best : old;
  }

 private:
  static constexpr int kLanes = 8;  // sums side by side, in a fixed order
  float level_[256];                // of a code and the code before
  double product_[kLanes] = {};
  double square_[kLanes] = {};
};

// One row on its way: its weights padded with zeros to whole blocks, its chains.
class RowSearch {
 public:
  RowSearch(const PathPalettes& palettes, int64_t cols)
      : palettes_(palettes),
        fit_(palettes),
        cols_(cols),
        blocks_(blocks_of(cols)),
        w_(static_cast<size_t>(padded_cols(cols))),
        targets_(w_.size()),
        chains_(w_.size()),
        codes_(w_.size()) {}

  // Finds the codes of a row for a scale above 0; returns the scale that is best for them.
  float search(const float* row, float scale) {
    std::copy_n(row, cols_, w_.begin());
    const int64_t stride = blocks_ * kChainsPerBlock;
    const double factor = kMaxLevel / static_cast<double>(scale);
    for (int64_t block = 0; block < blocks_; ++block) {
      spread_block(w_.data() + block * kBlockColumns, factor, stride,
                   targets_.data() + block * kChainsPerBlock);
    }
    encode_chains(palettes_, targets_.data(), stride, chains_.data());
    fit_.reset();
    for (int64_t block = 0; block < blocks_; ++block) {
      const int64_t first = block * kBlockColumns;
      gather_block(chains_.data() + block * kChainsPerBlock, stride, codes_.data() + first);
      fit_.add_block(codes_.data() + first, row + first,
                     std::min<int64_t>(kBlockColumns, cols_ - first));
    }
    return fit_.scale(scale);
  }

  const uint8_t* codes() const { return codes_.data(); }  // [padded_cols]

 private:
  const PathPalettes& palettes_;
  ScaleFit fit_;
  int64_t cols_;
  int64_t blocks_;
  std::vector<float> w_, targets_;
  std::vector<uint8_t> chains_, codes_;
};

template <int kBits>
class PathEncoder final : public Encoder {
 public:
  PathEncoder(int64_t rows, int64_t cols, int64_t stored_cols)
      : rows_(rows),
        cols_(cols),
        stored_cols_(stored_cols),
        blocks_(blocks_of(cols)),
        fit_(gaussian_fit(kBits)),
        scale_(static_cast<size_t>(rows)) {
    UPG_CHECK(stored_cols == cols || stored_cols == padded_cols(cols));
    codes_.resize(static_cast<size_t>(padded_rows(rows) * blocks_) * kBits * kVectorBytes);
  }

  void train(const float* rows, int64_t count) override {
    const int64_t whole = stored_cols_ / kBlockColumns;
    const int64_t total = whole * count;
    if (total == 0) return;  // less than a block: the Gaussian palettes serve
    const int64_t taken = std::min(total, kTrainBlocks);
    std::vector<float> chains(static_cast<size_t>(taken * kBlockColumns));
    for (int64_t i = 0; i < taken; ++i) {
      const int64_t at = i * total / taken;  // evenly over the sample
      const float* row = rows + at / whole * stored_cols_;
      const double rms = root_mean_square(row, stored_cols_);
      spread_block(row + at % whole * kBlockColumns, rms > 0 ? 1 / rms : 0, taken * kChainsPerBlock,
                   chains.data() + i * kChainsPerBlock);
    }
    fit_ = fit_palettes(fit_, chains, taken * kChainsPerBlock);
  }

  void encode(int64_t first_row, int64_t count, const float* rows) override {
    RowSearch search(fit_.palettes, stored_cols_);
    for (int64_t r = 0; r < count; ++r) {
      encode_row(search, first_row + r, rows + r * stored_cols_);
    }
  }

  std::vector<Part> finish() override {
    constexpr size_t kStates = 1 << kBits;
    std::array<uint16_t, 2 * kStates> palette;
    for (size_t i = 0; i < kStates; ++i) {
      palette[i] = entry_of(fit_.palettes.a[i]);
      palette[kStates + i] = entry_of(fit_.palettes.b[i]);
    }
    const auto entries = std::as_bytes(std::span(palette));
    const auto scales = std::as_bytes(std::span(scale_));
    std::vector<PartSpec> specs = path_parts(kBits, rows_, cols_);
    std::vector<Part> parts(3);
    parts[0].bytes = std::move(codes_);
    parts[1].bytes.assign(entries.begin(), entries.end());
    parts[2].bytes.assign(scales.begin(), scales.end());
    for (size_t i = 0; i < parts.size(); ++i) parts[i].spec = std::move(specs[i]);
    return parts;
  }

 private:
  void encode_row(RowSearch& search, int64_t row, const float* w) {
    float scale = to_scale(kMaxLevel * root_mean_square(w, stored_cols_) / fit_.levels_per_rms);
    if (!(scale > 0)) return;  // all zero: the scale says it, whatever the codes
    const float first = scale;
    scale = search.search(w, first);
    if (std::fabs(scale - first) > kScaleMoved * first) scale = search.search(w, scale);
    scale_[static_cast<size_t>(row)] = scale;
    auto* vectors = reinterpret_cast<uint8_t*>(codes_.data()) + row_offset(row, blocks_, kBits);
    for (int64_t block = 0; block < blocks_; ++block, vectors += kBits * kVectorStride) {
      pack_block<kBits>(search.codes() + block * kBlockColumns, vectors);
    }
  }

  int64_t rows_, cols_, stored_cols_, blocks_;
  PathFit fit_;
  std::vector<std::byte> codes_;
  std::vector<float> scale_;
};

}  // namespace

std::unique_ptr<Encoder> make_path_encoder(int bits, int64_t rows, int64_t cols,
                                           int64_t stored_cols) {
  UPG_CHECK(2 <= bits && bits <= 4);
  if (bits == 2) return std::make_unique<PathEncoder<2>>(rows, cols, stored_cols);
  if (bits == 3) return std::make_unique<PathEncoder<3>>(rows, cols, stored_cols);
  return std::make_unique<PathEncoder<4>>(rows, cols, stored_cols);
}

}  // namespace upg::codec
