#include "compress/sparse_feedback.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "base/checked.h"
#include "codec/matrix.h"
#include "codec/prune.h"
#include "codec/sparse_assembly.h"
#include "compress/row_reader.h"
#include "compress/sparse_descent.h"

namespace upg::compression {
namespace {

constexpr int64_t kChunkElements = int64_t{1} << 18;
constexpr int64_t kChunkRows = 64;  // at least: fewer make poor products
// What levels are fitted to: about so many weights, in slices of so many rows.
constexpr int64_t kTrainWeights = int64_t{1} << 17;
constexpr int64_t kSliceRows = 32;

// What all rows of a matrix share while they are coded.
class MatrixCoder {
 public:
  MatrixCoder(const SourceMatrix& source, const Storage& storage, const CodingProblem& problem,
              const SparseCodingOptions& options)
      : source_(source),
        problem_(problem),
        options_(options),
        reader_(source, nullptr, problem.cols()),
        step_(std::max(kChunkElements / problem.cols() / codec::kRowPadding * codec::kRowPadding,
                       kChunkRows)) {
    UPG_CHECK(problem.cols() == codec::padded_cols(source.cols));
    if (!storage.options.stored_weights) {
      keep_ = codec::kept_columns(source.cols, storage.options.sparsity);
    }
  }

  // Levels for what rows spread over the matrix store when values may be of any kind.
  codec::SparseFit train(base::ThreadTeam& team) const {
    const int64_t a_row = std::max<int64_t>(1, keep_.value_or(source_.cols));
    const int64_t slices = std::clamp<int64_t>(kTrainWeights / (a_row * kSliceRows), 1,
                                               base::ceil_div(source_.rows, kSliceRows));
    std::vector<std::vector<float>> samples(static_cast<size_t>(slices));
    team.for_each(slices, [&](int64_t slice, int) {
      const int64_t first = slice * source_.rows / slices;
      const int64_t count = std::min(kSliceRows, source_.rows - first);
      std::vector<float> rows(static_cast<size_t>(count * problem_.cols()));
      reader_.read(first, count, rows.data());
      SparseRows some(problem_, first, count, rows.data(), keep_, options_.drift_share);
      some.choose(options_.choosing_rounds);
      some.append_stored(samples[static_cast<size_t>(slice)]);
    });
    std::vector<float> all;
    for (const std::vector<float>& one : samples) all.insert(all.end(), one.begin(), one.end());
    return codec::fit_sparse_levels(std::move(all));
  }

  CodingLoss code(const codec::SparseFit& fit, base::ThreadTeam& team, const Tick& tick,
                  codec::SparseAssembly& out) const {
    Buffers buffers(team, step_ * problem_.cols());
    ChunkLoop loop(source_.rows, source_.cols, step_, 0, tick);
    std::vector<CodingLoss> losses(static_cast<size_t>(loop.chunks()));
    loop.run(team, [&](int64_t chunk, int64_t first, int64_t count, int thread) {
      float* rows = buffers.of(thread);
      reader_.read(first, count, rows);
      losses[static_cast<size_t>(chunk)] = code_rows(fit, first, count, rows, out);
      reader_.release(first, count);
    });
    CodingLoss loss;
    for (const CodingLoss& one : losses) {  // in order: the same for any team
      loss.loss += one.loss;
      loss.power += one.power;
    }
    return loss;
  }

 private:
  CodingLoss code_rows(const codec::SparseFit& fit, int64_t first, int64_t count, const float* rows,
                       codec::SparseAssembly& out) const {
    SparseRows work(problem_, first, count, rows, keep_, options_.drift_share);
    work.choose(options_.choosing_rounds);
    work.set_levels(fit);
    work.choose_levels(options_.level_rounds);
    work.repair();
    work.refine_levels(options_.last_rounds);
    std::vector<uint8_t> padded(static_cast<size_t>(problem_.cols()));
    std::vector<uint8_t> codes(static_cast<size_t>(count * source_.cols));
    std::vector<float> scales(static_cast<size_t>(count));
    for (int64_t r = 0; r < count; ++r) {
      work.codes_of(r, padded.data());
      std::copy_n(padded.begin(), source_.cols, codes.begin() + r * source_.cols);
      scales[static_cast<size_t>(r)] = work.scale(r);
    }
    out.set_rows(first, count, codes.data(), scales.data());
    return work.loss();
  }

  const SourceMatrix& source_;
  const CodingProblem& problem_;
  SparseCodingOptions options_;
  RowReader reader_;
  int64_t step_;
  std::optional<int64_t> keep_;  // weights a row stores; nothing: those that are not zero
};

}  // namespace

EncodedMatrix encode_sparse_calibrated(const SourceMatrix& source, const Storage& storage,
                                       const CodingProblem& problem,
                                       const SparseCodingOptions& options, base::ThreadTeam& team,
                                       const Tick& tick, CodingLoss& loss) {
  UPG_CHECK(storage.is_matrix() && !storage.rotated);
  const MatrixCoder coder(source, storage, problem, options);
  const codec::SparseFit fit = coder.train(team);
  codec::SparseAssembly assembly(source.rows, source.cols, fit);
  loss = coder.code(fit, team, tick, assembly);
  EncodedMatrix encoded(assembly.finish());
  encoded.sums = measure_error(source, encoded.bind(source, *storage.codec, nullptr), team, tick);
  return encoded;
}

}  // namespace upg::compression
