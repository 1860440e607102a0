// Every backend through the seam, its memory its own: forms of inputs, parts, biases, steps.
#include "kernels/backend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "kernels/reference/ops.h"
#include "kernels/test_matrix.h"
#include "upg/error.h"

namespace upg::kernels {
namespace {

class BackendTest : public testing::TestWithParam<const BackendRow*> {
 protected:
  std::unique_ptr<Backend> backend(int threads, Activations activations = Activations::kInt8) {
    return make_backend(*GetParam(), threads, activations);
  }
};

// Sequences of one token each, as a step needs them.
struct Batch {
  explicit Batch(std::vector<int32_t> tokens) : ids(std::move(tokens)) {
    const int count = static_cast<int>(ids.size());
    slices.push_back({0, count, 0, pages});
    pages.resize(ids.size() / kPageTokens + 1);
    slices[0].pages = pages;
  }
  StepBatch view() const { return {static_cast<int>(ids.size()), ids, slices, ropes}; }

  Rope rope{{1.0f, 0.1f}, 1.0f};
  std::vector<int32_t> ids;
  std::vector<int32_t> pages;
  std::vector<SequenceSlice> slices;
  std::vector<const Rope*> ropes{&rope};
};

// y of a Linear whose parts are stored in all ways, through one backend.
std::vector<float> multiply(Backend& backend, const std::vector<const TestMatrix*>& matrices,
                            const std::vector<float>& x, int64_t rows, Store store) {
  Linear linear;
  Random random(21);
  for (const TestMatrix* test : matrices) {
    Linear::Part part;
    part.weight = backend.load(test->matrix());
    if (linear.parts.size() % 2 == 1) {
      part.bias = upload(backend, random_floats(random, test->matrix().rows));
    }
    linear.rows += test->matrix().rows;
    linear.cols = test->matrix().cols;
    linear.parts.push_back(std::move(part));
  }
  const Buffer in = upload(backend, x);
  const Buffer y =
      upload(backend, std::vector<float>(static_cast<size_t>(rows * linear.rows), 0.5f));
  backend.matmul(y.floats(), linear, backend.prepare(in.floats(), rows, linear), rows, store);
  return download(backend, y.floats(), y.size() / sizeof(float));
}

std::vector<float> decoded_product(const std::vector<const TestMatrix*>& matrices,
                                   const std::vector<float>& x, int64_t rows, Store store,
                                   std::vector<double>& bounds) {
  std::vector<float> y;
  bounds.clear();
  for (int64_t i = 0; i < rows; ++i) {
    Random random(21);
    for (size_t p = 0; p < matrices.size(); ++p) {
      codec::Matrix m = matrices[p]->matrix();
      const int64_t cols = m.cols;
      if (m.signs != nullptr) m.cols = codec::padded_cols(cols);
      std::vector<float> w(static_cast<size_t>(m.rows * m.cols));
      codec::decode_rows(m, 0, m.rows, w.data());
      const std::vector<float> bias = p % 2 == 1 ? random_floats(random, m.rows)
                                                 : std::vector<float>(static_cast<size_t>(m.rows));
      for (int64_t r = 0; r < m.rows; ++r) {
        double sum = bias[static_cast<size_t>(r)] + (store == Store::kAdd ? 0.5 : 0.0);
        double magnitude = std::fabs(sum);
        for (int64_t c = 0; c < cols; ++c) {
          const double term = static_cast<double>(w[static_cast<size_t>(r * m.cols + c)]) *
                              x[static_cast<size_t>(i * cols + c)];
          sum += term;
          magnitude += std::fabs(term);
        }
        y.push_back(static_cast<float>(sum));
        bounds.push_back(magnitude);
      }
    }
  }
  return y;
}

// One part of each codec over one input: rotated two ways and not at all, biased and not.
TEST_P(BackendTest, PartsOfALinearLieOneAfterTheOther) {
  for (const int64_t cols : {200, 2688}) {
    Random random(13);
    std::vector<std::unique_ptr<TestMatrix>> owned;
    std::vector<const TestMatrix*> matrices;
    int64_t matrix_rows = 1;
    for (const std::string_view codec : test_codecs()) {
      const bool rotated = codec.starts_with("path") || codec == "int8";
      owned.push_back(std::make_unique<TestMatrix>(codec, matrix_rows, cols,
                                                   rotated && matrix_rows % 2 == 1, random));
      matrices.push_back(owned.back().get());
      matrix_rows = matrix_rows * 2 % 101;
    }
    for (const int64_t rows : {1, 9}) {
      const std::vector<float> x = random_floats(random, rows * cols);
      for (const Store store : {Store::kSet, Store::kAdd}) {
        std::vector<double> bounds;
        const std::vector<float> want = decoded_product(matrices, x, rows, store, bounds);
        const std::vector<float> y1 = multiply(*backend(1), matrices, x, rows, store);
        const std::vector<float> y3 = multiply(*backend(3), matrices, x, rows, store);
        EXPECT_EQ(y1, y3);  // how rows divide among threads changes nothing
        // Rounding moves an activation by about 0.004 (they lie within +-1), at random: the errors
        // of a sum grow with the root of its length.
        const double share = 0.08 / std::sqrt(static_cast<double>(cols));
        for (size_t i = 0; i < want.size(); ++i) {
          ASSERT_NEAR(y1[i], want[i], share * bounds[i] + 1e-6) << i;
        }
      }
    }
  }
}

TEST_P(BackendTest, FloatActivationsAreExact) {
  if (GetParam()->device != "reference") GTEST_SKIP() << "offered by reference alone";
  constexpr int64_t kCols = 2688;
  Random random(14);
  const TestMatrix path("path3", 70, kCols, true, random);
  const TestMatrix sparse("sparse", 33, kCols, false, random);
  const TestMatrix int8("int8", 32, kCols, true, random);
  const std::vector<const TestMatrix*> matrices = {&path, &sparse, &int8};
  const std::vector<float> x = random_floats(random, 3 * kCols);
  std::vector<double> bounds;
  const std::vector<float> want = decoded_product(matrices, x, 3, Store::kSet, bounds);
  const std::vector<float> got =
      multiply(*backend(2, Activations::kF32), matrices, x, 3, Store::kSet);
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 16 * std::numeric_limits<float>::epsilon() * bounds[i]) << i;
  }
}

// One block of columns: nothing but the integer sum and three roundings, the same everywhere.
TEST_P(BackendTest, IntegerPartsAreExact) {
  if (GetParam()->device == "cpu") GTEST_SKIP() << "skipped: SIMD tables round factors elsewhere";
  Random random(31);
  const auto reference = create_backend({.device = "reference", .cpu = {}, .threads = 1});
  const auto device = backend(2);
  for (const std::string_view codec : test_codecs()) {
    if (codec.starts_with("raw") || codec == "mdcsr") continue;
    for (const int64_t rows : {1, 2, 3, 4, 7, 8, 9, 16, 31, 33, 64}) {
      const bool rotated = codec != "sparse" && rows % 2 == 0;
      const TestMatrix test(codec, 1 + 7 * rows % 101, rows % 3 == 0 ? 100 : 128, rotated, random);
      const std::vector<float> x = random_floats(random, rows * test.matrix().cols);
      EXPECT_EQ(multiply(*device, {&test}, x, rows, Store::kSet),
                multiply(*reference, {&test}, x, rows, Store::kSet))
          << codec << ", batch " << rows;
    }
  }
}

TEST_P(BackendTest, EmbeddingRowsOfEveryCodec) {
  Random random(15);
  const auto device = backend(2);
  for (const std::string_view codec : test_codecs()) {
    const TestMatrix test(codec, 50, 200, false, random);
    const std::vector<int32_t> ids = {49, 0, 7, 7};
    device->begin_step(Batch(ids).view());
    const Buffer rows = device->allocate(ids.size() * 200 * sizeof(float));
    const auto embedding = device->load(test.matrix());
    device->embed(rows.floats(), *embedding);
    const std::vector<float> x = download(*device, rows.floats(), ids.size() * 200);
    for (size_t t = 0; t < ids.size(); ++t) {
      std::vector<float> want(200);
      codec::decode_rows(test.matrix(), ids[t], 1, want.data());
      EXPECT_EQ(std::vector<float>(x.begin() + static_cast<std::ptrdiff_t>(200 * t),
                                   x.begin() + static_cast<std::ptrdiff_t>(200 * (t + 1))),
                want)
          << codec;
    }
  }
}

// Two sequences with ropes of their own; norms of the heads; dimensions past rotary_dims stay.
TEST_P(BackendTest, RopeKnowsPositionsAndSequences) {
  const AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = 6, .rotary_dims = 4};
  const Rope near{{1.0f, 0.25f}, 1.0f};
  const Rope far{{0.5f, 0.01f}, 1.25f};
  const std::vector<int32_t> ids(5);
  const std::vector<int32_t> pages(40);
  const std::vector<SequenceSlice> slices = {{0, 2, 0, pages}, {2, 3, 1000, pages}};
  const std::vector<const Rope*> ropes = {&near, &far};
  const auto device = backend(2);
  device->begin_step({5, ids, slices, ropes});

  Random random(16);
  const std::vector<float> x = random_floats(random, 5 * shape.qkv_width());
  const std::vector<float> q_norm = random_floats(random, 6);
  const std::vector<float> k_norm = random_floats(random, 6);
  const Buffer qkv = upload(*device, x);
  device->rope(qkv.floats(), shape, upload(*device, q_norm).floats(),
               upload(*device, k_norm).floats(), 1e-6f);
  const std::vector<float> got = download(*device, qkv.floats(), x.size());

  for (int t = 0; t < 5; ++t) {
    const Rope& rope = t < 2 ? near : far;
    const auto position = static_cast<float>(t < 2 ? t : 1000 + t - 2);
    for (int head = 0; head < 4; ++head) {  // the last one is the value: untouched
      std::vector<float> want(x.begin() + (t * 4 + head) * 6, x.begin() + (t * 4 + head + 1) * 6);
      if (head < 3) {
        const float* norm = head < 2 ? q_norm.data() : k_norm.data();
        reference::rms_norm(want.data(), want.data(), norm, 1e-6f, 6);
        float cos[2];
        float sin[2];
        for (size_t i = 0; i < 2; ++i) {
          cos[i] = std::cos(position * rope.inv_freq[i]) * rope.scale;
          sin[i] = std::sin(position * rope.inv_freq[i]) * rope.scale;
        }
        reference::rope(want.data(), cos, sin, 4);
      }
      for (int i = 0; i < 6; ++i) {
        EXPECT_NEAR(got[static_cast<size_t>((t * 4 + head) * 6 + i)], want[static_cast<size_t>(i)],
                    1e-6)
            << "token " << t << ", head " << head << ", dimension " << i;
      }
    }
  }
}

TEST_P(BackendTest, ElementwiseOpsDivideAmongThreads) {
  Random random(17);
  const auto device = backend(3);
  const std::vector<float> x = random_floats(random, 40 * 3000);
  const std::vector<float> weight = random_floats(random, 3000);
  const Buffer in = upload(*device, x);
  const Buffer out = device->allocate(in.size());
  device->rms_norm(out.floats(), in.floats(), upload(*device, weight).floats(), 1e-5f, 40, 3000);
  const std::vector<float> y = download(*device, out.floats(), x.size());
  std::vector<float> want(3000);
  for (size_t i = 0; i < 40; ++i) {
    reference::rms_norm(want.data(), x.data() + 3000 * i, weight.data(), 1e-5f, 3000);
    for (size_t c = 0; c < 3000; ++c) ASSERT_NEAR(y[3000 * i + c], want[c], 4e-6);
  }
  device->swiglu(out.floats(), in.floats(), 40, 1500);
  const std::vector<float> gated = download(*device, out.floats(), 40 * 1500);
  for (size_t i = 0; i < gated.size(); ++i) {
    const double gate = x[i / 1500 * 3000 + i % 1500];
    const double up = x[i / 1500 * 3000 + 1500 + i % 1500];
    ASSERT_NEAR(gated[i], gate / (1 + std::exp(-gate)) * up, 1e-6);
  }
  const std::vector<int32_t> indices = {39, 3, 3, 0};
  device->gather_rows(out.floats(), in.floats(), indices, 3000);
  const std::vector<float> gathered = download(*device, out.floats(), indices.size() * 3000);
  for (size_t i = 0; i < indices.size(); ++i) {
    const auto from = x.begin() + indices[i] * 3000;
    ASSERT_TRUE(
        std::equal(from, from + 3000, gathered.begin() + static_cast<std::ptrdiff_t>(3000 * i)));
  }
}

TEST_P(BackendTest, MemoryIsAlignedMovableAndBounded) {
  const auto device = backend(1);
  Buffer buffer = device->allocate(100);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.bytes()) % 64, 0u);
  const std::byte* data = buffer.bytes();
  Buffer moved = std::move(buffer);
  EXPECT_EQ(moved.bytes(), data);
  EXPECT_EQ(device->allocate(0).size(), 0u);
  try {
    device->allocate(size_t{1} << 60);
    ADD_FAILURE() << "an exabyte was allocated";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, BackendTest, testing::ValuesIn(runnable_backends()),
                         [](const auto& row) { return std::string(row.param->name); });

}  // namespace
}  // namespace upg::kernels
