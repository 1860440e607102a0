// Coding against inputs as sparse: exact numbers, given zeros, and the loss against plain pruning.
#include "compress/sparse_descent.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <span>

#include "codec/codec.h"
#include "codec/matrix.h"
#include "codec/sparse_assembly.h"
#include "compress/sparse_feedback.h"

namespace upg::compression {
namespace {

constexpr int64_t kRows = 70;
constexpr int64_t kCols = 200;  // no multiple of a block

// Random weights and the second moments of inputs in which neighbouring columns go together.
struct Setting {
  Setting() : weights(static_cast<size_t>(kRows * kCols)), moments(moments_of_inputs()) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    for (float& w : weights) w = normal(random);
  }

  static Moments moments_of_inputs() {
    constexpr int kTokens = 600;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    Moments moments;
    moments.cols = codec::padded_cols(kCols);
    moments.gram.resize(static_cast<size_t>(moments.cols * moments.cols));
    std::vector<float> x(static_cast<size_t>(kCols));
    for (int token = 0; token < kTokens; ++token) {
      float state = 0;
      for (int64_t c = 0; c < kCols; ++c) {
        state = 0.9f * state + normal(random);
        x[static_cast<size_t>(c)] = state * static_cast<float>(1 + c % 5);
      }
      for (int64_t i = 0; i < kCols; ++i) {
        float* row = moments.gram.data() + i * moments.cols;
        for (int64_t j = 0; j < kCols; ++j)
          row[j] += x[static_cast<size_t>(i)] * x[static_cast<size_t>(j)];
      }
    }
    return moments;
  }

  CodingProblem problem() const { return CodingProblem(moments, 0.01, "w"); }

  SourceMatrix source() {
    view = {base::DType::kF32, {kRows, kCols}, std::as_bytes(std::span(weights))};
    return {.where = "w", .view = &view, .rows = kRows, .cols = kCols, .release = {}};
  }

  static Storage storage() {
    Storage storage;
    storage.codec = codec::find_codec("sparse");
    return storage;
  }

  // (w - q) H (w - q)^T over all rows.
  double loss_of(const EncodedMatrix& encoded) {
    std::vector<float> decoded(weights.size());
    codec::decode_rows(encoded.bind(source(), *storage().codec, nullptr), 0, kRows, decoded.data());
    double loss = 0;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t i = 0; i < kCols; ++i) {
        const auto error = [&](int64_t c) {
          const auto at = static_cast<size_t>(r * kCols + c);
          return static_cast<double>(weights[at]) - decoded[at];
        };
        double sum = 0;
        const float* row = moments.gram.data() + i * moments.cols;
        for (int64_t j = 0; j < kCols; ++j) sum += error(j) * row[j];
        loss += error(i) * sum;
      }
    }
    return loss;
  }

  std::vector<float> weights;
  Moments moments;
  base::TensorView view;
};

EncodedMatrix code(Setting& setting, const Storage& storage, int threads, CodingLoss& loss) {
  base::ThreadTeam team(threads);
  const CodingProblem problem = setting.problem();
  return encode_sparse_calibrated(setting.source(), storage, problem, {}, team, {}, loss);
}

std::string bytes_of(const EncodedMatrix& encoded) {
  std::string bytes;
  for (const EncodedPart& part : encoded.parts()) {
    bytes.append(reinterpret_cast<const char*>(part.bytes.data()), part.bytes.size());
  }
  return bytes;
}

TEST(SparseCalibrated, LosesFarLessThanPruningByMagnitude) {
  Setting setting;
  base::ThreadTeam team(1);
  const double plain =
      setting.loss_of(encode_matrix(setting.source(), Setting::storage(), nullptr, team, {}));
  CodingLoss loss;
  const EncodedMatrix coded = code(setting, Setting::storage(), 1, loss);
  EXPECT_LT(setting.loss_of(coded), 0.5 * plain);
}

TEST(SparseCalibrated, TheLossIsThatOfWhatIsStored) {
  Setting setting;
  CodingLoss loss;
  const EncodedMatrix coded = code(setting, Setting::storage(), 1, loss);
  EXPECT_NEAR(loss.loss / setting.loss_of(coded), 1, 1e-3);
}

TEST(SparseCalibrated, TheSameForAnyNumberOfThreads) {
  Setting setting;
  CodingLoss one, three;
  const std::string bytes = bytes_of(code(setting, Setting::storage(), 1, one));
  EXPECT_TRUE(bytes_of(code(setting, Setting::storage(), 3, three)) == bytes);
  EXPECT_EQ(one.loss, three.loss);
}

TEST(SparseCalibrated, TakesThePlannedBytes) {
  Setting setting;
  Storage storage = Setting::storage();
  for (const double sparsity : {0.0, 0.45, 0.5, 0.99}) {
    storage.options.sparsity = sparsity;
    CodingLoss loss;
    const EncodedMatrix coded = code(setting, storage, 1, loss);
    const std::vector<codec::PartSpec> planned = storage.parts(kRows, kCols);
    for (size_t i = 0; i < planned.size(); ++i) {
      EXPECT_EQ(coded.parts()[i].spec.shape, planned[i].shape) << sparsity;
    }
  }
}

// Zeros of the source: every third column, and a whole row.
TEST(SparseCalibrated, KeepsTheZerosOfTheSource) {
  Setting setting;
  int64_t kept = 0;
  for (size_t i = 0; i < setting.weights.size(); ++i) {
    if (i % 3 == 0 || i / kCols == 5) setting.weights[i] = 0;
    kept += setting.weights[i] != 0;
  }
  for (const bool given : {true, false}) {
    Storage storage = Setting::storage();
    if (given) storage.options.stored_weights = kept;
    CodingLoss loss;
    const EncodedMatrix coded = code(setting, storage, 2, loss);
    std::vector<float> decoded(setting.weights.size());
    codec::decode_rows(coded.bind(setting.source(), *storage.codec, nullptr), 0, kRows,
                       decoded.data());
    int64_t others = 0;
    for (size_t i = 0; i < decoded.size(); ++i) {
      if (setting.weights[i] == 0) {
        ASSERT_EQ(decoded[i], 0.0f) << i;
      }
      others += decoded[i] != 0;
    }
    if (given) {
      EXPECT_GT(others, kept * 85 / 100);  // the others have level 0
    } else {
      EXPECT_LE(others, kRows * kCols / 2);
    }
  }
}

TEST(SparseRows, StoreExactlyWhatTheyMay) {
  Setting setting;
  setting.weights[7] = 0;
  const CodingProblem problem = setting.problem();
  constexpr int64_t kCount = 5;
  const int64_t cols = problem.cols();
  std::vector<float> rows(static_cast<size_t>(kCount * cols));
  for (int64_t r = 0; r < kCount; ++r) {
    std::copy_n(setting.weights.begin() + r * kCols, kCols, rows.begin() + r * cols);
  }
  for (const int64_t keep : {0, 1, 99, 199, 200}) {
    SparseRows work(problem, 0, kCount, rows.data(), keep, 0.5f);
    work.choose(2);
    work.set_levels(codec::gaussian_sparse_fit());
    work.choose_levels(2);
    work.repair();
    work.refine_levels(1);
    std::vector<uint8_t> codes(static_cast<size_t>(cols));
    for (int64_t r = 0; r < kCount; ++r) {
      work.codes_of(r, codes.data());
      int64_t stored = 0;
      for (const uint8_t code : codes) stored += code != codec::SparseAssembly::kNotStored;
      EXPECT_EQ(stored, std::min(keep, r == 0 ? kCols - 1 : kCols)) << keep;
    }
  }
}

}  // namespace
}  // namespace upg::compression
