// Attention and the cache of every backend against a naive version in double precision.
//
// Keys and values are chosen so that each cache type holds them exactly; then one tolerance serves
// all types. What the types lose is tested on its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/float16.h"
#include "kernels/backend.h"
#include "kernels/test_matrix.h"

namespace upg::kernels {
namespace {

struct Sequence {
  int past;
  int tokens;
  std::vector<int32_t> pages;
};

struct Case {
  std::string name;
  AttentionShape shape;
  KvType k_type = KvType::kF32;
  KvType v_type = KvType::kF32;
  std::vector<Sequence> sequences;
  double tolerance = 4e-6;  // for scores of a few units; their rounding grows with them
};

// Multiples of 1/127 with a 127/127 in every 32 values: exact for q8 with its scale a power of two.
std::vector<float> exact_values(Random& random, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    const int level = i % 32 == 0 ? 127 : static_cast<int>(random() % 255) - 127;
    values[i] = static_cast<float>(level) / 128.0f;
  }
  return values;
}

// The whole history of a sequence: keys and values [past + tokens, kv_heads, head_dim], queries
// [past + tokens, heads, head_dim].
struct History {
  std::vector<float> q, k, v;
};

History make_history(const AttentionShape& shape, int tokens, Random& random) {
  return {random_floats(random, static_cast<int64_t>(tokens) * shape.q_width(), 3.0f),
          exact_values(random, static_cast<int64_t>(tokens) * shape.kv_heads * shape.head_dim),
          exact_values(random, static_cast<int64_t>(tokens) * shape.kv_heads * shape.head_dim)};
}

std::vector<double> naive_attention(const AttentionShape& shape, const History& history,
                                    int position, int head) {
  const int kv_head = head / (shape.heads / shape.kv_heads);
  const int first = shape.window > 0 ? std::max(0, position - shape.window + 1) : 0;
  const float* q = history.q.data() + (position * shape.heads + head) * shape.head_dim;
  std::vector<double> scores;
  double highest = -1e300;
  for (int p = first; p <= position; ++p) {
    const float* k = history.k.data() + (p * shape.kv_heads + kv_head) * shape.head_dim;
    double score = 0;
    for (int i = 0; i < shape.head_dim; ++i) score += static_cast<double>(q[i]) * k[i];
    scores.push_back(score * shape.scale);
    highest = std::max(highest, scores.back());
  }
  std::vector<double> out(static_cast<size_t>(shape.head_dim), 0.0);
  double sum = 0;
  for (int p = first; p <= position; ++p) {
    const double weight = std::exp(scores[static_cast<size_t>(p - first)] - highest);
    const float* v = history.v.data() + (p * shape.kv_heads + kv_head) * shape.head_dim;
    sum += weight;
    for (int i = 0; i < shape.head_dim; ++i) out[static_cast<size_t>(i)] += weight * v[i];
  }
  for (double& value : out) value /= sum;
  return out;
}

// Runs the history of all sequences through the backend, the past in steps of `chunk` tokens, and
// checks the outputs of every token.
class AttentionRun {
 public:
  AttentionRun(const BackendRow& row, int threads, const Case& test)
      : test_(test), backend_(make_backend(row, threads)), rope_{std::vector<float>(1), 1.0f} {
    Random random(11);
    int32_t pages = 0;
    for (const Sequence& sequence : test.sequences) {
      histories_.push_back(make_history(test.shape, sequence.past + sequence.tokens, random));
      for (const int32_t page : sequence.pages) pages = std::max(pages, page + 1);
    }
    const int64_t rows = int64_t{pages} * test.shape.kv_heads * kPageTokens;
    k_ = cache(rows, test.k_type);
    v_ = cache(rows, test.v_type);
  }

  void run(int chunk) {
    for (int round = 0; step(chunk, round); ++round) {
      if (testing::Test::HasFatalFailure()) return;
    }
  }

 private:
  // Filled with ones: whoever reads what was never written reads NaN.
  Buffer cache(int64_t rows, KvType type) {
    const size_t bytes = static_cast<size_t>(rows) * kv_row_bytes(type, test_.shape.head_dim);
    Buffer buffer = backend_->allocate(bytes);
    backend_->upload(buffer.bytes(), std::string(bytes, '\xff').data(), bytes);
    return buffer;
  }

  // The step of round r takes each sequence from its r-th boundary to the next one.
  bool step(int chunk, int round) {
    std::vector<SequenceSlice> slices;
    std::vector<size_t> owners;
    int rows = 0;
    for (size_t s = 0; s < histories_.size(); ++s) {
      const std::vector<int> ends = boundaries(test_.sequences[s], chunk);
      const auto r = static_cast<size_t>(round);
      if (r + 1 >= ends.size()) continue;
      slices.push_back({rows, ends[r + 1] - ends[r], ends[r], test_.sequences[s].pages});
      owners.push_back(s);
      rows += slices.back().tokens;
    }
    if (rows > 0) attend(slices, owners, rows);
    return rows > 0;
  }

  // The past in chunks, then the new tokens at once.
  static std::vector<int> boundaries(const Sequence& sequence, int chunk) {
    std::vector<int> ends;
    for (int end = 0; end < sequence.past; end += chunk) ends.push_back(end);
    ends.push_back(sequence.past);
    ends.push_back(sequence.past + sequence.tokens);
    return ends;
  }

  void attend(const std::vector<SequenceSlice>& slices, const std::vector<size_t>& owners,
              int rows) {
    const AttentionShape& shape = test_.shape;
    const std::vector<int32_t> ids(static_cast<size_t>(rows));
    const std::vector<const Rope*> ropes(slices.size(), &rope_);
    backend_->begin_step({rows, ids, slices, ropes});
    std::vector<float> qkv(static_cast<size_t>(rows * shape.qkv_width()));
    for (size_t i = 0; i < slices.size(); ++i) fill(qkv, slices[i], histories_[owners[i]]);
    const Buffer in = upload(*backend_, qkv);
    const Buffer attended =
        upload(*backend_, std::vector<float>(static_cast<size_t>(rows * shape.q_width()), 1e30f));
    backend_->attention(attended.floats(), in.floats(), shape,
                        {k_.bytes(), v_.bytes(), test_.k_type, test_.v_type});
    const std::vector<float> out =
        download(*backend_, attended.floats(), attended.size() / sizeof(float));
    for (size_t i = 0; i < slices.size(); ++i) check(out, slices[i], histories_[owners[i]]);
  }

  void fill(std::vector<float>& qkv, const SequenceSlice& slice, const History& history) const {
    const AttentionShape& shape = test_.shape;
    const int kv_width = shape.kv_heads * shape.head_dim;
    for (int t = 0; t < slice.tokens; ++t) {
      float* row = qkv.data() + (slice.first + t) * shape.qkv_width();
      const int position = slice.past + t;
      row = std::copy_n(history.q.data() + position * shape.q_width(), shape.q_width(), row);
      row = std::copy_n(history.k.data() + position * kv_width, kv_width, row);
      std::copy_n(history.v.data() + position * kv_width, kv_width, row);
    }
  }

  void check(const std::vector<float>& out, const SequenceSlice& slice,
             const History& history) const {
    const AttentionShape& shape = test_.shape;
    for (int t = 0; t < slice.tokens; ++t) {
      for (int head = 0; head < shape.heads; ++head) {
        const auto want = naive_attention(shape, history, slice.past + t, head);
        const float* got = out.data() + (slice.first + t) * shape.q_width() + head * shape.head_dim;
        for (size_t i = 0; i < want.size(); ++i) {
          ASSERT_NEAR(got[i], want[i], test_.tolerance)
              << test_.name << ": position " << slice.past + t << ", head " << head;
        }
      }
    }
  }

  const Case& test_;
  std::unique_ptr<Backend> backend_;
  Rope rope_;
  std::vector<History> histories_;
  Buffer k_, v_;
};

AttentionShape shape_of(int heads, int kv_heads, int head_dim, int window = 0) {
  return {.heads = heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .rotary_dims = 0,
          .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
          .window = window};
}

// Pages 0 ... count - 1, backwards.
std::vector<int32_t> pages_backwards(int count) {
  std::vector<int32_t> pages(static_cast<size_t>(count));
  std::iota(pages.rbegin(), pages.rend(), 0);
  return pages;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto& [k, v] : {std::pair{KvType::kF32, KvType::kF32},
                             {KvType::kF16, KvType::kF16},
                             {KvType::kQ8, KvType::kQ8},
                             {KvType::kF16, KvType::kQ8}}) {
    const std::string type =
        std::to_string(static_cast<int>(k)) + std::to_string(static_cast<int>(v));
    all.push_back({"one token " + type, shape_of(4, 4, 32), k, v, {{0, 1, {0}}}});
    all.push_back({"group of four " + type, shape_of(8, 2, 64), k, v, {{40, 9, {3, 1}}}});
    all.push_back({"group of three " + type, shape_of(6, 2, 128), k, v, {{31, 2, {2, 0}}}});
    all.push_back({"group of five " + type, shape_of(5, 1, 96), k, v, {{32, 33, {4, 2, 0}}}});
    all.push_back({"window " + type, shape_of(4, 2, 32, 20), k, v, {{50, 40, {1, 5, 2}}}});
    all.push_back({"window of one " + type, shape_of(2, 1, 32, 1), k, v, {{3, 70, {0, 1, 2}}}});
    all.push_back({"several " + type,
                   shape_of(4, 2, 64),
                   k,
                   v,
                   {{0, 5, {7}}, {63, 1, {0, 3}}, {64, 1, {1, 5, 4}}, {10, 100, {9, 2, 6, 8}}}});
  }
  // So many pages that a single token's work is divided.
  for (const int past : {511, 512, 1027}) {
    all.push_back({"long " + std::to_string(past),
                   shape_of(2, 1, 32),
                   KvType::kF16,
                   KvType::kF16,
                   {{past, 1, pages_backwards(past / kPageTokens + 1)}}});
    all.push_back({"long with a window " + std::to_string(past),
                   shape_of(2, 1, 20, 600),
                   KvType::kF32,
                   KvType::kF32,
                   {{past, 1, pages_backwards(past / kPageTokens + 1)}}});
  }
  for (const int head_dim : {4, 8, 16, 20, 80, 256}) {
    for (const KvType type : {KvType::kF32, KvType::kF16}) {
      all.push_back({"head of " + std::to_string(head_dim),
                     shape_of(4, 2, head_dim),
                     type,
                     type,
                     {{30, 5, {1, 0}}}});
    }
  }
  return all;
}

class AttentionTest : public testing::TestWithParam<const BackendRow*> {
 protected:
  const BackendRow& row() const { return *GetParam(); }
};

TEST_P(AttentionTest, MatchesDoublePrecision) {
  for (const Case& test : cases()) {
    AttentionRun(row(), 1, test).run(1000);
    ASSERT_FALSE(HasFatalFailure());
  }
}

TEST_P(AttentionTest, ChunksEqualTheWhole) {
  for (const Case& test : cases()) {
    AttentionRun(row(), 3, test).run(7);
    AttentionRun(row(), 2, test).run(1);
    ASSERT_FALSE(HasFatalFailure());
  }
}

TEST_P(AttentionTest, LargeScoresDoNotOverflow) {
  Case test{"large", shape_of(2, 1, 32), KvType::kF32, KvType::kF32, {{20, 30, {1, 0}}}};
  test.shape.scale = 40.0f;  // scores of some hundreds
  test.tolerance = 1e-4;
  AttentionRun(row(), 1, test).run(1000);
}

// A context long enough to be cut into parts, which are put together again.
TEST_P(AttentionTest, LongContexts) {
  Case test{"long", shape_of(8, 2, 64), KvType::kF16, KvType::kF16, {{1500, 3, {}}, {7, 1, {}}}};
  for (int32_t page = 0; page < 48; ++page) test.sequences[0].pages.push_back(47 - page);
  test.sequences[1].pages.push_back(48);
  AttentionRun(row(), 2, test).run(1500);
  test.shape.window = 1000;
  AttentionRun(row(), 2, test).run(1500);
}

class CacheRowTest : public testing::TestWithParam<const CpuOps*> {
 protected:
  const CpuOps& ops() const { return *GetParam(); }
};

TEST_P(CacheRowTest, F32AndF16CachesHoldWhatTheyCan) {
  Random random(8);
  for (const int head_dim : {4, 20, 128}) {
    const std::vector<float> x = random_floats(random, head_dim, 100.0f);
    std::vector<float> f32(x.size());
    ops().store_kv(reinterpret_cast<std::byte*>(f32.data()), x.data(), head_dim, KvType::kF32);
    EXPECT_EQ(f32, x);
    std::vector<uint16_t> f16(x.size());
    ops().store_kv(reinterpret_cast<std::byte*>(f16.data()), x.data(), head_dim, KvType::kF16);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(f16[i], base::float_to_f16(x[i]));
  }
}

// |x - q * scale| <= scale / 2, and as much more as the rounding of the scale to f16 costs.
TEST_P(CacheRowTest, Q8CacheStaysWithinItsBound) {
  Random random(9);
  constexpr int kDim = 96;
  std::vector<std::byte> row(kv_row_bytes(KvType::kQ8, kDim));
  ASSERT_EQ(row.size(), 102u);
  for (const float magnitude : {1.0f, 1e-3f, 500.0f, 1e-9f, 0.0f}) {
    const std::vector<float> x = random_floats(random, kDim, magnitude);
    ops().store_kv(row.data(), x.data(), kDim, KvType::kQ8);
    for (int i = 0; i < kDim; ++i) {
      const std::byte* block = row.data() + i / 32 * 34;
      uint16_t bits;
      std::memcpy(&bits, block, 2);
      const float scale = base::f16_to_float(bits);
      const float value = scale * static_cast<float>(static_cast<int8_t>(block[2 + i % 32]));
      EXPECT_NEAR(value, x[static_cast<size_t>(i)], 0.5625f * scale + 4e-6f) << magnitude;
      EXPECT_LE(std::abs(static_cast<int8_t>(block[2 + i % 32])), 127);
      EXPECT_LE(scale, magnitude / 126.5f + 1e-7f);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, AttentionTest, testing::ValuesIn(runnable_backends()),
                         [](const auto& row) { return std::string(row.param->name); });
INSTANTIATE_TEST_SUITE_P(Tables, CacheRowTest, testing::ValuesIn(runnable_tables()),
                         [](const auto& table) { return std::string(table.param->name); });

}  // namespace
}  // namespace upg::kernels
