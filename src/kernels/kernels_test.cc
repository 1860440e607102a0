// Every table that this machine can run: products against double precision over what the codec
// decodes, and against reference.
//
// Sums may be reordered, so an error scales with the terms and not with the result: the tolerance
// is a few float epsilons times |w| |x|, which is at least the sum of the terms' magnitudes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "codec/primes.h"
#include "codec/rotation.h"
#include "kernels/dense.h"
#include "kernels/input_tiles.h"
#include "kernels/reference/ops.h"
#include "kernels/test_matrix.h"

namespace upg::kernels {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
constexpr float kUntouched = 12345.0f;

struct Shape {
  int64_t rows;
  int64_t cols;
};

constexpr Shape kShapes[] = {{1, 1},    {3, 64},   {32, 128}, {33, 200},
                             {70, 768}, {5, 2688}, {100, 128}};
constexpr int64_t kBatches[] = {1, 2, 3, 4, 8, 16, 17, 30, 64};

// Input vectors in both forms that products take.
struct Inputs {
  Inputs(const CpuOps& ops, const codec::Matrix& matrix, int64_t count, Random& random)
      : rows(count), padded(codec::padded_cols(matrix.cols)) {
    x = random_floats(random, rows * matrix.cols);
    float* stored = storage.reserve(rows * padded);
    std::fill_n(stored, rows * padded, 0.0f);
    q.reserve(rows * padded);
    scale.reserve(rows * padded / codec::kBlockColumns);
    start.reserve(4 * rows * padded / codec::kBlockColumns);
    for (int64_t i = 0; i < rows; ++i) {
      float* row = stored + i * padded;
      std::copy_n(x.data() + i * matrix.cols, matrix.cols, row);
      if (matrix.signs != nullptr) ops.rotate(row, padded, matrix.signs);
      const int64_t block = i * padded / codec::kBlockColumns;
      ops.quantise(row, padded, q.data() + i * padded, scale.data() + block,
                   start.data() + 4 * block);
    }
    if (const int64_t most = inputs_of_a_tile(ops, rows); most > 0) fill_tiles(most);
    cols = matrix.signs != nullptr ? padded : matrix.cols;
  }

  // In two parts, as threads would.
  void fill_tiles(int64_t most) {
    tiled.reserve(rows * padded);
    for (int64_t i = 0; i < input_tile_count(rows, most); ++i) {
      const InputTileRange range = input_tile_range(rows, most, i);
      fill_input_tile(q.data(), padded, range, 0, 64, tiled.data());
      fill_input_tile(q.data(), padded, range, 64, padded, tiled.data());
    }
  }

  FloatInput floats() const { return {storage.data(), rows, cols, padded}; }
  QuantisedInput quantised() const {
    return {q.data(), scale.data(), start.data(), rows, padded, tiled.data()};
  }
  // What the product sees: the quantised values, or the floats.
  double value(int64_t i, int64_t c, bool integers) const {
    if (!integers) return storage.data()[i * padded + c];
    return static_cast<double>(q.data()[i * padded + c]) *
           scale.data()[(i * padded + c) / codec::kBlockColumns];
  }

  int64_t rows, padded, cols = 0;
  std::vector<float> x;
  Scratch<float> storage;
  Scratch<int8_t> q;
  Scratch<float> scale;
  Scratch<int32_t> start;
  Scratch<int8_t> tiled;
};

// One call of the table's function for the codec. `integers`: on quantised inputs where the codec
// takes them.
void multiply(const CpuOps& ops, const codec::Matrix& m, RowRange range, const Inputs& in,
              bool integers, const Output& out) {
  if (const auto* w = std::get_if<codec::PathMatrix>(&m.view)) {
    if (integers) return ops.matmul_path(*w, m.cols, range, in.quantised(), out);
    return ops.matmul_path_float(*w, m.cols, range, in.floats(), out);
  }
  if (const auto* w = std::get_if<codec::Int8Matrix>(&m.view)) {
    if (integers) return ops.matmul_int8(*w, m.cols, range, in.quantised(), out);
    return ops.matmul_int8_float(*w, m.cols, range, in.floats(), out);
  }
  if (const auto* w = std::get_if<codec::SparseMatrix>(&m.view)) {
    if (integers) return ops.matmul_sparse(*w, m.cols, range, in.quantised(), out);
    return ops.matmul_sparse_float(*w, m.cols, range, in.floats(), out);
  }
  if (const auto* w = std::get_if<codec::MdcsrMatrix>(&m.view)) {
    return ops.matmul_mdcsr(*w, m.cols, range, in.floats(), out);
  }
  ops.matmul_raw(std::get<codec::RawMatrix>(m.view), m.cols, range, in.floats(), out);
}

bool takes_integers(const codec::Matrix& m) {
  return !std::holds_alternative<codec::MdcsrMatrix>(m.view) &&
         !std::holds_alternative<codec::RawMatrix>(m.view);
}

// y = start (+)= product for every row, in two calls where there are rows for two, against double
// precision.
void expect_product(const CpuOps& ops, const TestMatrix& test, const Inputs& in, bool integers,
                    Store store, const std::string& what) {
  const codec::Matrix& m = test.matrix();
  const int64_t stride = m.rows + 3;
  std::vector<float> y(static_cast<size_t>(in.rows * stride), kUntouched);
  const Output out = {y.data(), stride, store};
  const int64_t split = std::min<int64_t>(m.rows, codec::kRowPadding);
  multiply(ops, m, {0, split}, in, integers, out);
  if (split < m.rows) multiply(ops, m, {split, m.rows}, in, integers, out);

  const std::vector<float> w = test.stored_rows();
  const int64_t cols = test.stored_cols();
  const double start = store == Store::kAdd ? kUntouched : 0.0;
  for (int64_t i = 0; i < in.rows; ++i) {
    for (int64_t r = 0; r < stride; ++r) {
      const float got = y[static_cast<size_t>(i * stride + r)];
      if (r >= m.rows) {
        ASSERT_EQ(got, kUntouched) << what << ": wrote past row " << m.rows;
        continue;
      }
      double sum = 0;
      double w_norm = 0;
      double x_norm = 0;
      for (int64_t c = 0; c < cols; ++c) {
        const double weight = w[static_cast<size_t>(r * cols + c)];
        const double x = in.value(i, c, integers);
        sum += weight * x;
        w_norm += weight * weight;
        x_norm += x * x;
      }
      const double tolerance = 4 * kEpsilon * std::sqrt(w_norm * x_norm) + kEpsilon * start;
      ASSERT_NEAR(got, start + sum, tolerance) << what << ", row " << r << ", input " << i;
    }
  }
}

class KernelsTest : public testing::TestWithParam<const CpuOps*> {
 protected:
  const CpuOps& ops() const { return *GetParam(); }
  bool offers_floats() const { return ops().matmul_path_float != nullptr; }
};

TEST_P(KernelsTest, ProductsMatchDoublePrecision) {
  for (const std::string_view codec : test_codecs()) {
    Random random(7);
    for (const Shape shape : kShapes) {
      for (const int64_t batch : kBatches) {
        const bool raw = codec.starts_with("raw") || codec == "mdcsr";
        const bool rotated = !raw && codec != "sparse" && (shape.rows + batch) % 2 == 0;
        const TestMatrix test(codec, shape.rows, shape.cols, rotated, random);
        const Inputs in(ops(), test.matrix(), batch, random);
        const std::string what = std::string(codec) + " " + std::to_string(shape.rows) + " x " +
                                 std::to_string(shape.cols) + ", batch " + std::to_string(batch);
        const Store store = batch % 3 == 2 ? Store::kAdd : Store::kSet;
        expect_product(ops(), test, in, takes_integers(test.matrix()), store, what);
        if (takes_integers(test.matrix()) && offers_floats() && batch < 8) {
          expect_product(ops(), test, in, false, store, what + ", float");
        }
        if (HasFatalFailure()) return;
      }
    }
  }
}

// To the last bit: a text is the same whatever else the server writes.
TEST_P(KernelsTest, AnInputsProductDoesNotDependOnTheOthers) {
  for (const std::string_view codec : test_codecs()) {
    if (codec == "sparse") continue;  // adds along a row where inputs are few
    for (const Shape shape : {Shape{140, 384}, Shape{257, 128 * 37}}) {
      Random random(11);
      const bool raw = codec.starts_with("raw");
      const bool rotated = !raw && codec != "mdcsr";
      const TestMatrix test(codec, shape.rows, shape.cols, rotated, random);
      std::vector<float> alone;
      for (const int64_t batch : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 40}) {
        Random inputs(12);  // the first ones are the same
        const Inputs in(ops(), test.matrix(), batch, inputs);
        std::vector<float> y(static_cast<size_t>(batch * shape.rows), 0.5f);
        multiply(ops(), test.matrix(), {0, shape.rows}, in, takes_integers(test.matrix()),
                 {y.data(), shape.rows, Store::kAdd});
        y.resize(static_cast<size_t>(shape.rows));
        if (batch == 1) alone = y;
        ASSERT_EQ(y, alone) << codec << ", " << batch << " inputs";
      }
    }
  }
}

// decode_rows with the rotation undone times the inputs as they came: the rotation is consistent.
TEST_P(KernelsTest, RotatedProductsAreThoseOfTheDecodedMatrix) {
  if (!offers_floats()) GTEST_SKIP() << "no float products of rotated codecs in this table";
  Random random(3);
  for (const std::string_view codec : {"path2", "path3", "path4", "int8"}) {
    const TestMatrix test(codec, 40, 200, true, random);
    const codec::Matrix& m = test.matrix();
    const Inputs in(ops(), m, 2, random);
    std::vector<float> y(static_cast<size_t>(2 * m.rows));
    multiply(ops(), m, {0, m.rows}, in, false, {y.data(), m.rows, Store::kSet});
    // Columns past the last take part in the rotation: decode them too, against inputs of zero.
    codec::Matrix padded = m;
    padded.cols = codec::padded_cols(m.cols);
    std::vector<float> w(static_cast<size_t>(m.rows * padded.cols));
    codec::decode_rows(padded, 0, m.rows, w.data());
    for (int64_t i = 0; i < 2; ++i) {
      for (int64_t r = 0; r < m.rows; ++r) {
        double sum = 0;
        double magnitude = 0;
        for (int64_t c = 0; c < m.cols; ++c) {
          const double term = static_cast<double>(w[static_cast<size_t>(r * padded.cols + c)]) *
                              in.x[static_cast<size_t>(i * m.cols + c)];
          sum += term;
          magnitude += std::fabs(term);
        }
        EXPECT_NEAR(y[static_cast<size_t>(i * m.rows + r)], sum, 16 * kEpsilon * magnitude)
            << codec << ", row " << r;
      }
    }
  }
}

TEST_P(KernelsTest, RotationIsTheCodecs) {
  Random random(1);
  for (const int64_t cols : {128, 256, 2688}) {
    std::vector<float> x = random_floats(random, cols);
    std::vector<float> want = x;
    std::vector<uint8_t> signs(static_cast<size_t>(cols / 8));
    for (uint8_t& byte : signs) byte = static_cast<uint8_t>(random());
    ops().rotate(x.data(), cols, signs.data());
    codec::rotate(want.data(), 1, cols, signs.data());
    EXPECT_EQ(x, want) << cols;  // to the last bit: the additions are in a fixed order
  }
}

// Rows that begin and end anywhere, every codec and width; the path codecs have a kernel for it.
TEST_P(KernelsTest, DenseRowsAreTheCodecsToTheLastBit) {
  Random random(3);
  for (const std::string_view codec : test_codecs()) {
    for (const auto& [rows, cols] : {Shape{37, 384}, Shape{9, 200}}) {
      for (const bool rotated : {false, codec.starts_with("path") || codec == "int8"}) {
        const TestMatrix test(codec, rows, cols, rotated, random);
        for (const auto& [first, count] : {std::pair{int64_t{0}, rows}, {int64_t{3}, int64_t{5}}}) {
          std::vector<float> got(static_cast<size_t>(count * cols));
          std::vector<float> want(got.size());
          decode_rows(ops(), test.matrix(), first, count, got.data());
          codec::decode_rows(test.matrix(), first, count, want.data());
          EXPECT_EQ(got, want) << codec << ", " << first << ", " << rotated;
        }
      }
    }
  }
}

// Every sum that two levels can have.
TEST_P(KernelsTest, EveryLevelIsDividedAsByADivision) {
  if (ops().decode_path == nullptr) GTEST_SKIP() << "not offered by this table";
  for (int level = -codec::kMaxLevel; level <= codec::kMaxLevel; ++level) {
    alignas(64) uint8_t codes[64 * 3] = {};  // all codes are 0
    const float scale[4] = {0.37f, 1.0f, 3.1f, 0.01f};
    codec::PathMatrix w = {.bits = 3, .two_palettes = true, .codes = codes, .scale = scale};
    w.level_a[0] = static_cast<int8_t>(level / 2);
    w.level_b[0] = static_cast<int8_t>(level - level / 2);
    std::vector<float> got(4 * codec::kBlockColumns);
    ops().decode_path(w, 1, 0, 4, got.data());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i], scale[i / codec::kBlockColumns] *
                            (static_cast<float>(level) / static_cast<float>(codec::kMaxLevel)));
    }
  }
}

struct Quantised {
  Quantised(const CpuOps& ops, const std::vector<float>& x)
      : q(x.size()), scale(x.size() / codec::kBlockColumns), start(4 * scale.size()) {
    ops.quantise(x.data(), static_cast<int64_t>(x.size()), q.data(), scale.data(), start.data());
  }
  std::vector<int8_t> q;
  std::vector<float> scale;
  std::vector<int32_t> start;
};

TEST_P(KernelsTest, QuantisingIsExact) {
  Random random(5);
  for (const float magnitude : {1.0f, 1e-20f, 1e20f, 3e-5f}) {
    const std::vector<float> x = random_floats(random, 5 * codec::kBlockColumns, magnitude);
    const Quantised got(ops(), x);
    const Quantised want(reference::table, x);
    EXPECT_EQ(got.q, want.q);
    EXPECT_EQ(got.scale, want.scale);
    for (size_t block = 0; block < got.scale.size(); ++block) {
      const auto first = want.q.begin() + static_cast<ptrdiff_t>(block) * codec::kBlockColumns;
      const int sum = std::accumulate(first, first + codec::kBlockColumns, 0);
      const std::vector<int32_t> start(got.start.begin() + static_cast<ptrdiff_t>(4 * block),
                                       got.start.begin() + static_cast<ptrdiff_t>(4 * block + 4));
      EXPECT_EQ(start, (std::vector<int32_t>{-ops().level_offset * sum, 0, 0, 0}));
    }
  }
}

TEST_P(KernelsTest, QuantisingRoundsHalfToEvenAndSumsUp) {
  std::vector<float> x(2 * codec::kBlockColumns, 0.0f);
  const float halves[] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -126.5f, 125.5f, 0.49f};
  std::copy(std::begin(halves), std::end(halves), x.begin());
  const Quantised got(ops(), x);
  const std::vector<int8_t> want = {127, 0, 2, 2, 0, -2, -126, 126, 0};
  EXPECT_EQ(std::vector<int8_t>(got.q.begin(), got.q.begin() + 9), want);
  EXPECT_EQ(got.scale, (std::vector<float>{1.0f, 0.0f}));  // the second block is all zero
  EXPECT_EQ(got.start, (std::vector<int32_t>{-ops().level_offset * 129, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_THAT(std::vector<int8_t>(got.q.begin() + 128, got.q.end()), testing::Each(0));
}

TEST_P(KernelsTest, QuantisingSmallestAndNonFiniteValues) {
  std::vector<float> x(2 * codec::kBlockColumns, 0.0f);
  x[3] = kSmallestAmax / 2;
  x[200] = std::numeric_limits<float>::infinity();
  const Quantised got(ops(), x);
  EXPECT_EQ(got.q[3], 0);
  EXPECT_EQ(got.scale[0], 0.0f);
  EXPECT_FALSE(std::isfinite(got.scale[1]));
}

TEST_P(KernelsTest, RmsNorm) {
  Random random(2);
  for (const int64_t cols : {1, 7, 64, 100, 768, 5120}) {
    const std::vector<float> x = random_floats(random, cols, 3.0f);
    const std::vector<float> weight = random_floats(random, cols);
    std::vector<float> y = x;
    ops().rms_norm(y.data(), y.data(), weight.data(), 1e-5f, cols);  // in place
    double squares = 0;
    for (const float value : x) squares += static_cast<double>(value) * value;
    const double factor = 1 / std::sqrt(squares / static_cast<double>(cols) + 1e-5);
    for (size_t c = 0; c < x.size(); ++c) {
      const double want = x[c] * factor * weight[c];
      EXPECT_NEAR(y[c], want, 8 * kEpsilon * std::fabs(want)) << cols << ", column " << c;
    }
  }
}

TEST_P(KernelsTest, RopeTurnsPairsHalfAHeadApart) {
  Random random(4);
  for (const int dims : {2, 8, 24, 64, 96, 128}) {
    const auto half = static_cast<size_t>(dims / 2);
    const std::vector<float> x = random_floats(random, dims + 5);  // the last five do not turn
    const std::vector<float> cos = random_floats(random, dims / 2);
    const std::vector<float> sin = random_floats(random, dims / 2);
    std::vector<float> got = x;
    ops().rope(got.data(), cos.data(), sin.data(), dims);
    for (size_t i = 0; i < half; ++i) {
      const double a = x[i];
      const double b = x[i + half];
      EXPECT_NEAR(got[i], a * cos[i] - b * sin[i], 2 * kEpsilon) << dims;
      EXPECT_NEAR(got[i + half], b * cos[i] + a * sin[i], 2 * kEpsilon) << dims;
    }
    for (size_t i = 2 * half; i < x.size(); ++i) EXPECT_EQ(got[i], x[i]);
  }
}

TEST_P(KernelsTest, Swiglu) {
  Random random(6);
  for (const int64_t n : {1, 5, 16, 100, 1024}) {
    std::vector<float> gate = random_floats(random, n, 20.0f);
    const std::vector<float> up = random_floats(random, n, 2.0f);
    gate[0] = n % 2 == 0 ? -200.0f : 200.0f;  // exp overflows, the result must not
    std::vector<float> y(static_cast<size_t>(n));
    ops().swiglu(y.data(), gate.data(), up.data(), n);
    for (size_t i = 0; i < y.size(); ++i) {
      const double g = gate[i];
      const double want = g / (1 + std::exp(-g)) * up[i];
      EXPECT_NEAR(y[i], want, 8 * kEpsilon * std::fabs(want) + 1e-30) << gate[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, KernelsTest, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->name); });

}  // namespace
}  // namespace upg::kernels
