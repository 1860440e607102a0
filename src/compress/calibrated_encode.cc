#include "compress/calibrated_encode.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/check.h"
#include "codec/path_assembly.h"
#include "codec/path_layout.h"
#include "codec/path_palette.h"
#include "compress/row_reader.h"
#include "compress/sparse_feedback.h"

namespace upg::compression {
namespace {

constexpr int64_t kTrainBlocks = 2048;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The palettes that fit the matrix's rows, each divided by its root mean square.
codec::PathFit train(const SourceMatrix& source, const RowReader& reader, int bits) {
  const int64_t rows = sample_rows(source.rows, source.cols);
  const std::vector<float> sample = read_sample(source, reader, rows);
  const int64_t cols = codec::padded_cols(source.cols);
  const int64_t total = rows * (cols / codec::kBlockColumns);
  const int64_t taken = std::min(total, kTrainBlocks);
  const int64_t chains = taken * codec::kChainsPerBlock;
  std::vector<float> targets(static_cast<size_t>(chains * codec::kChainLength));
  for (int64_t i = 0; i < taken; ++i) {
    const int64_t at = i * total / taken;  // evenly over the sample
    const float* row = sample.data() + at / (cols / codec::kBlockColumns) * cols;
    double square = 0;
    for (int64_t c = 0; c < cols; ++c) square += static_cast<double>(row[c]) * row[c];
    const double rms = std::sqrt(square / static_cast<double>(cols));
    const float* block = row + at % (cols / codec::kBlockColumns) * codec::kBlockColumns;
    for (int chain = 0; chain < codec::kChainsPerBlock; ++chain) {
      for (int p = 0; p < codec::kChainLength; ++p) {
        const float w = block[codec::column_of(chain, p)];
        targets[static_cast<size_t>(p * chains + i * codec::kChainsPerBlock + chain)] =
            rms > 0 ? static_cast<float>(w / rms) : 0;
      }
    }
  }
  return codec::fit_palettes(codec::gaussian_fit(bits), targets, chains);
}

bool is_sparse(const codec::Codec& codec) noexcept { return codec.name == "sparse"; }

}  // namespace

bool codes_calibrated(const codec::Codec& codec) noexcept {
  return path_bits(codec) > 0 || is_sparse(codec);
}

int path_bits(const codec::Codec& codec) noexcept {
  if (codec.name == "path2") return 2;
  if (codec.name == "path3") return 3;
  return codec.name == "path4" ? 4 : 0;
}

EncodedMatrix encode_calibrated(const SourceMatrix& source, const Storage& storage,
                                const uint8_t* signs, const Problem& problem,
                                const CodingOptions& options, base::ThreadTeam& team,
                                const Tick& tick, CodingLoss& loss) {
  if (is_sparse(*storage.codec)) {
    SparseCodingOptions sparse;
    sparse.drift_share = options.drift_share;
    return encode_sparse_calibrated(source, storage, problem.on_host(), sparse, team, tick, loss);
  }
  const int bits = path_bits(*storage.codec);
  UPG_CHECK(bits > 0 && storage.rotated == (signs != nullptr));
  const RowReader reader(source, signs, codec::padded_cols(source.cols));
  const double begin = now();
  const codec::PathFit fit = train(source, reader, bits);
  const double trained = now();
  codec::PathAssembly assembly(source.rows, source.cols, fit.palettes);
  loss = problem.code({reader, source.rows, source.cols, fit, options, assembly, team, tick});
  EncodedMatrix encoded(assembly.finish());
  encoded.sums = measure_error(source, encoded.bind(source, *storage.codec, signs), team, tick);
  encoded.train_seconds = trained - begin;
  encoded.rows_seconds = now() - trained;
  return encoded;
}

}  // namespace upg::compression
