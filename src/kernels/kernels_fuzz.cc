// The same bytes to every table of this machine: a matrix of some codec, shape and batch, inputs,
// a batch of queries. All must agree with reference to rounding.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/cpu_backend.h"
#include "kernels/reference/ops.h"
#include "kernels/test_matrix.h"

namespace upg::kernels {
namespace {

// Reads small numbers from the front of the input; zeros when it is used up.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), left_(size) {}

  int next(int below) {
    if (left_ < 2) return 0;
    const int value = data_[0] | data_[1] << 8;
    data_ += 2;
    left_ -= 2;
    return value % below;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

void expect_close(const std::vector<float>& got, const std::vector<float>& want, double tolerance) {
  for (size_t i = 0; i < want.size(); ++i) {
    UPG_CHECK(std::fabs(static_cast<double>(got[i]) - want[i]) <= tolerance);
  }
}

std::vector<float> product(const CpuOps& ops, const TestMatrix& test, const std::vector<float>& x,
                           int64_t batch) {
  CpuBackend backend(ops, {.threads = 1});
  Linear linear;
  linear.rows = test.matrix().rows;
  linear.cols = test.matrix().cols;
  linear.parts.push_back({backend.load(test.matrix()), {}});
  std::vector<float> y(static_cast<size_t>(batch * linear.rows), 1.0f);
  backend.matmul(y.data(), linear, backend.prepare(x.data(), batch, linear), batch, Store::kAdd);
  return y;
}

void fuzz_product(Bytes& bytes) {
  Random random(static_cast<uint32_t>(bytes.next(1 << 16)));
  const auto codecs = test_codecs();
  const auto codec = codecs[static_cast<size_t>(bytes.next(static_cast<int>(codecs.size())))];
  const int64_t rows = 1 + bytes.next(80);
  const int64_t cols = 1 + bytes.next(600);
  const int64_t batch = 1 + bytes.next(20);
  const bool rotates = codec.starts_with("path") || codec == "int8";
  const TestMatrix test(codec, rows, cols, rotates && bytes.next(2) == 1, random);
  std::vector<float> x = random_floats(random, batch * cols);
  for (int i = 0; i < 4; ++i) {  // some extremes among them
    x[static_cast<size_t>(bytes.next(static_cast<int>(x.size())))] *=
        static_cast<float>(bytes.next(1000));
  }
  double x_norm = 0;
  for (const float value : x) x_norm += static_cast<double>(value) * value;
  const std::vector<float> want = product(reference::table, test, x, batch);
  // At least 4 epsilons times |w| |x|: stored weights are below 1, and rotated they fill the block.
  const auto stored_cols = static_cast<double>(codec::padded_cols(cols));
  const double tolerance = 1e-6 * (1 + std::sqrt(x_norm * stored_cols));
  for (const CpuOps* ops : runnable_tables()) {
    expect_close(product(*ops, test, x, batch), want, tolerance);
  }
}

struct Query {
  AttentionShape shape;
  KvType k_type, v_type;
  int tokens, past;
  std::vector<int32_t> pages;
  std::vector<float> qkv;  // past + tokens rows
};

std::vector<float> attend(const CpuOps& ops, const Query& query) {
  CpuBackend backend(ops, {.threads = 1});
  const auto rows = static_cast<int64_t>(query.pages.size()) * query.shape.kv_heads * kPageTokens;
  const auto cache = [&](KvType type) {
    return backend.allocate(static_cast<size_t>(rows) * kv_row_bytes(type, query.shape.head_dim));
  };
  const Buffer k = cache(query.k_type);
  const Buffer v = cache(query.v_type);
  const Rope rope;
  const Rope* ropes[] = {&rope};
  std::vector<float> out(static_cast<size_t>((query.past + query.tokens) * query.shape.q_width()));
  for (const auto& [past, tokens] : {std::pair{0, query.past}, {query.past, query.tokens}}) {
    if (tokens == 0) continue;
    const std::vector<int32_t> ids(static_cast<size_t>(tokens));
    const SequenceSlice slices[] = {{0, tokens, past, query.pages}};
    backend.begin_step({tokens, ids, slices, ropes});
    backend.attention(out.data() + past * query.shape.q_width(),
                      query.qkv.data() + past * query.shape.qkv_width(), query.shape,
                      {k.bytes(), v.bytes(), query.k_type, query.v_type});
  }
  return out;
}

void fuzz_attention(Bytes& bytes) {
  Random random(static_cast<uint32_t>(bytes.next(1 << 16)));
  Query query;
  query.shape.kv_heads = 1 + bytes.next(3);
  query.shape.heads = query.shape.kv_heads * (1 + bytes.next(5));
  query.k_type = static_cast<KvType>(bytes.next(3));
  query.v_type = static_cast<KvType>(bytes.next(3));
  const bool q8 = query.k_type == KvType::kQ8 || query.v_type == KvType::kQ8;
  query.shape.head_dim = q8 ? 32 * (1 + bytes.next(4)) : 1 + bytes.next(130);
  query.shape.scale = 1.0f / std::sqrt(static_cast<float>(query.shape.head_dim));
  query.shape.window = bytes.next(2) == 0 ? 0 : 1 + bytes.next(60);
  query.past = bytes.next(100);
  query.tokens = 1 + bytes.next(70);
  for (int i = (query.past + query.tokens) / kPageTokens; i >= 0; --i) query.pages.push_back(i);
  const int64_t rows = query.past + query.tokens;
  query.qkv = random_floats(random, rows * query.shape.qkv_width(), 2.0f);
  const std::vector<float> want = attend(reference::table, query);
  for (const CpuOps* ops : runnable_tables()) expect_close(attend(*ops, query), want, 1e-3);
}

void fuzz_vectors(Bytes& bytes) {
  Random random(static_cast<uint32_t>(bytes.next(1 << 16)));
  const int64_t n = 1 + bytes.next(700);
  const auto magnitude = static_cast<float>(1 + bytes.next(100));
  const std::vector<float> x = random_floats(random, 2 * n, magnitude);
  std::vector<float> want(static_cast<size_t>(n));
  std::vector<float> got(want.size());
  const float* second = x.data() + n;
  for (const CpuOps* ops : runnable_tables()) {
    reference::swiglu(want.data(), x.data(), second, n);
    ops->swiglu(got.data(), x.data(), second, n);
    expect_close(got, want, 1e-6 * magnitude * magnitude);
    reference::rms_norm(want.data(), x.data(), second, 1e-6f, n);
    ops->rms_norm(got.data(), x.data(), second, 1e-6f, n);
    expect_close(got, want, 2e-6 * magnitude * std::sqrt(static_cast<double>(n)));
  }
}

}  // namespace
}  // namespace upg::kernels

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  upg::kernels::Bytes bytes(data, size);
  switch (bytes.next(3)) {
    case 0:
      upg::kernels::fuzz_product(bytes);
      break;
    case 1:
      upg::kernels::fuzz_attention(bytes);
      break;
    default:
      upg::kernels::fuzz_vectors(bytes);
  }
  return 0;
}
