// What CpuBackend adds to a table of ops: forms of inputs, several parts, biases, threads, steps.
#include "kernels/cpu_backend.h"

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

class CpuBackendTest : public testing::TestWithParam<const CpuOps*> {
 protected:
  std::unique_ptr<CpuBackend> backend(int threads, Activations activations = Activations::kInt8) {
    BackendOptions options;
    options.threads = threads;
    options.activations = activations;
    return std::make_unique<CpuBackend>(*GetParam(), options);
  }
};

// Memory in two nodes, as far as this machine can pretend: both are its first one.
std::unique_ptr<CpuBackend> on_two_nodes(const CpuOps& ops, int threads) {
  base::Topology topology = base::topology();
  topology.nodes.resize(1);
  topology.nodes.push_back(topology.nodes[0]);
  BackendOptions options;
  options.threads = threads;
  return std::make_unique<CpuBackend>(ops, options, topology);
}

Buffer upload(CpuBackend& backend, const std::vector<float>& values) {
  Buffer buffer = backend.allocate(sizeof(float) * values.size());
  backend.upload(buffer.bytes(), values.data(), buffer.size());
  return buffer;
}

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
std::vector<float> multiply(CpuBackend& backend, const std::vector<const TestMatrix*>& matrices,
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
  std::vector<float> y(static_cast<size_t>(rows * linear.rows), 0.5f);
  backend.matmul(y.data(), linear, backend.prepare(x.data(), rows, linear), rows, store);
  return y;
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
TEST_P(CpuBackendTest, PartsOfALinearLieOneAfterTheOther) {
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

// One input, a few, and so many that they go in tiles.
TEST_P(CpuBackendTest, SameBitsForEveryNumberOfThreadsAndNodes) {
  Random random(14);
  std::vector<std::unique_ptr<TestMatrix>> owned;
  std::vector<const TestMatrix*> matrices;
  for (const std::string_view codec : test_codecs()) {
    owned.push_back(std::make_unique<TestMatrix>(codec, 150, 384, false, random));
    matrices.push_back(owned.back().get());
  }
  for (const int64_t rows : {1, 5, 40}) {
    const std::vector<float> x = random_floats(random, rows * 384);
    const std::vector<float> want = multiply(*backend(1), matrices, x, rows, Store::kAdd);
    for (int threads = 2; threads <= 8; ++threads) {
      EXPECT_EQ(multiply(*backend(threads), matrices, x, rows, Store::kAdd), want) << threads;
    }
    const auto two_nodes = on_two_nodes(*GetParam(), 4);
    EXPECT_EQ(multiply(*two_nodes, matrices, x, rows, Store::kAdd), want);
    EXPECT_NE(two_nodes->describe().find("4 threads on 2 NUMA nodes"), std::string::npos);
  }
}

TEST_P(CpuBackendTest, FloatActivationsAreExact) {
  if (GetParam()->matmul_path_float == nullptr) GTEST_SKIP() << "not offered by this table";
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

TEST_P(CpuBackendTest, EmbeddingRowsOfEveryCodec) {
  Random random(15);
  const auto cpu = backend(2);
  for (const std::string_view codec : test_codecs()) {
    const TestMatrix test(codec, 50, 200, false, random);
    const std::vector<int32_t> ids = {49, 0, 7, 7};
    cpu->begin_step(Batch(ids).view());
    std::vector<float> x(ids.size() * 200);
    cpu->embed(x.data(), *cpu->load(test.matrix()));
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
TEST_P(CpuBackendTest, RopeKnowsPositionsAndSequences) {
  const AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = 6, .rotary_dims = 4};
  const Rope near{{1.0f, 0.25f}, 1.0f};
  const Rope far{{0.5f, 0.01f}, 1.25f};
  const std::vector<int32_t> ids(5);
  const std::vector<int32_t> pages(40);
  const std::vector<SequenceSlice> slices = {{0, 2, 0, pages}, {2, 3, 1000, pages}};
  const std::vector<const Rope*> ropes = {&near, &far};
  const auto cpu = backend(2);
  cpu->begin_step({5, ids, slices, ropes});

  Random random(16);
  const std::vector<float> x = random_floats(random, 5 * shape.qkv_width());
  const std::vector<float> q_norm = random_floats(random, 6);
  const std::vector<float> k_norm = random_floats(random, 6);
  std::vector<float> got = x;
  cpu->rope(got.data(), shape, q_norm.data(), k_norm.data(), 1e-6f);

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

TEST_P(CpuBackendTest, ElementwiseOpsDivideAmongThreads) {
  Random random(17);
  const auto cpu = backend(3);
  const std::vector<float> x = random_floats(random, 40 * 3000);
  const std::vector<float> weight = random_floats(random, 3000);
  std::vector<float> y(x.size());
  cpu->rms_norm(y.data(), x.data(), weight.data(), 1e-5f, 40, 3000);
  std::vector<float> want(3000);
  for (size_t i = 0; i < 40; ++i) {
    GetParam()->rms_norm(want.data(), x.data() + 3000 * i, weight.data(), 1e-5f, 3000);
    ASSERT_TRUE(
        std::equal(want.begin(), want.end(), y.begin() + static_cast<std::ptrdiff_t>(3000 * i)));
  }
  std::vector<float> gated(40 * 1500);
  cpu->swiglu(gated.data(), x.data(), 40, 1500);
  for (size_t i = 0; i < gated.size(); ++i) {
    const double gate = x[i / 1500 * 3000 + i % 1500];
    const double up = x[i / 1500 * 3000 + 1500 + i % 1500];
    ASSERT_NEAR(gated[i], gate / (1 + std::exp(-gate)) * up, 1e-6);
  }
  const std::vector<int32_t> indices = {39, 3, 3, 0};
  std::vector<float> gathered(indices.size() * 3000);
  cpu->gather_rows(gathered.data(), x.data(), indices, 3000);
  for (size_t i = 0; i < indices.size(); ++i) {
    const auto from = x.begin() + indices[i] * 3000;
    ASSERT_TRUE(
        std::equal(from, from + 3000, gathered.begin() + static_cast<std::ptrdiff_t>(3000 * i)));
  }
}

TEST_P(CpuBackendTest, MemoryIsAlignedMovableAndBounded) {
  const auto cpu = backend(1);
  Buffer buffer = cpu->allocate(100);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.bytes()) % 64, 0u);
  const std::byte* data = buffer.bytes();
  Buffer moved = std::move(buffer);
  EXPECT_EQ(moved.bytes(), data);
  EXPECT_EQ(cpu->allocate(0).size(), 0u);
  try {
    cpu->allocate(size_t{1} << 60);
    ADD_FAILURE() << "an exabyte was allocated";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, CpuBackendTest, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->name); });

}  // namespace
}  // namespace upg::kernels
