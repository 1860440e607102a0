// What lies between the products, on one core: preparing inputs, attention over the cache.
#include <cstring>
#include <random>

#include "kernels/cpu/tables.h"
#include "kernels/scratch.h"
#include "suite.h"

namespace upg::bench {
namespace {

using kernels::CpuOps;
using kernels::Scratch;

constexpr int64_t kCols = 5120;

float* random_floats(Scratch<float>& storage, int64_t count) {
  float* data = storage.reserve(count);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < count; ++i) data[i] = normal(random);
  return data;
}

// Rotates and quantises one vector.
void prepare(benchmark::State& state, const CpuOps& ops) {
  constexpr int64_t kBlocks = kCols / codec::kBlockColumns;
  Scratch<float> x, scale;
  Scratch<int8_t> q;
  Scratch<int32_t> start;
  random_floats(x, kCols);
  q.reserve(kCols);
  scale.reserve(kBlocks);
  start.reserve(4 * kBlocks);
  const std::vector<uint8_t> signs(kCols / 8, 0x5a);
  time_loop(state, [&] {
    ops.rotate(x.data(), kCols, signs.data());
    ops.quantise(x.data(), kCols, q.data(), scale.data(), start.data());
  });
}

// One kv head of Phi-4 (four query heads, 128 dimensions, f16): `tokens` queries at the end of
// `context`.
void attention(benchmark::State& state, const CpuOps& ops, int tokens, int context) {
  constexpr int kGroup = 4, kDim = 128;
  Scratch<float> q, out, scratch;
  Scratch<std::byte> k, v;
  random_floats(q, tokens * kGroup * kDim);
  out.reserve(tokens * kGroup * kDim);
  scratch.reserve(kernels::attention_scratch_floats(kGroup, kDim));
  std::memset(k.reserve(context * kDim * 2), 0x3c, static_cast<size_t>(context) * kDim * 2);
  std::memset(v.reserve(context * kDim * 2), 0x3c, static_cast<size_t>(context) * kDim * 2);
  std::vector<int32_t> pages(static_cast<size_t>(context / kernels::kPageTokens));
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);
  const kernels::AttentionTask task = {
      .q = q.data(),
      .out = out.data(),
      .q_stride = kGroup * kDim,
      .out_stride = kGroup * kDim,
      .tokens = tokens,
      .position = context - tokens,
      .group = kGroup,
      .head_dim = kDim,
      .kv_head = 0,
      .kv_heads = 1,
      .scale = 0.088f,
      .window = 0,
      .pages = pages.data(),
      .cache = {k.data(), v.data(), kernels::KvType::kF16, kernels::KvType::kF16},
      .scratch = scratch.data()};
  time_loop(state, [&] { ops.attention(task); });
}

Benchmark row_of(const CpuOps& ops, const std::string& name) {
  Benchmark row;
  row.name = name;
  row.labels = {{"backend", std::string(ops.name)}, {"threads", "1"}};
  row.group = "operations";
  return row;
}

void add_attention(const CpuOps& ops, int tokens, int context, Suite& suite) {
  Benchmark row = row_of(ops, "operation/attention/" + std::string(ops.name) + "/tokens:" +
                                  std::to_string(tokens) + "/context:" + std::to_string(context));
  row.amount = 2.0 * 2.0 * 128 * context;  // keys and values, f16
  row.unit = "bytes";
  row.body = [&ops, tokens, context](auto& state) { attention(state, ops, tokens, context); };
  suite.push_back(std::move(row));
}

}  // namespace

void add_operations(const Options& options, Suite& suite) {
  for (const CpuOps* ops : kernels::cpu_tables()) {
    if (!ops->supported()) continue;
    Benchmark row = row_of(*ops, "operation/prepare/" + std::string(ops->name));
    row.amount = kCols;
    row.unit = "columns";
    row.body = [ops](auto& state) { prepare(state, *ops); };
    suite.push_back(std::move(row));
    add_attention(*ops, 1, 512, suite);
    if (options.tiny) continue;
    add_attention(*ops, 1, 4096, suite);
    add_attention(*ops, 32, 512, suite);
  }
}

}  // namespace upg::bench
