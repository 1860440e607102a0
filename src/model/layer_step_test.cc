// Backends that take a layer at once, against their own single operations: shapes,
// codecs and numbers of sequences as a step for several of them meets them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/test_matrix.h"
#include "model/layer.h"

namespace upg::model {
namespace {

using kernels::Backend;
using kernels::Buffer;
using kernels::kPageTokens;
using kernels::Linear;
using kernels::Random;
using kernels::TestMatrix;

struct Shape {
  int hidden;
  int intermediate;
  int heads;
  int kv_heads;
  int head_dim;
  std::string_view codec;
  bool split_qkv;
  int window;
  kernels::KvType cache = kernels::KvType::kF16;
};

class Layers {
 public:
  static constexpr int kLayers = 2;

  Layers(const Shape& shape, int sequences) : sequences_(sequences), cache_(shape.cache) {
    Random random(7);
    config_.layers = kLayers;
    config_.hidden = shape.hidden;
    config_.intermediate = shape.intermediate;
    config_.norm_epsilon = 1e-5f;
    config_.attention = {.heads = shape.heads,
                         .kv_heads = shape.kv_heads,
                         .head_dim = shape.head_dim,
                         .rotary_dims = shape.head_dim / 2,
                         .scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim)),
                         .window = shape.window};
    config_.windows.assign(kLayers, shape.window);
    const int kv = shape.kv_heads * shape.head_dim;
    const int q = shape.heads * shape.head_dim;
    const std::vector<int> qkv = shape.split_qkv ? std::vector{q, kv, kv} : std::vector{q + 2 * kv};
    for (int layer = 0; layer < kLayers; ++layer) {
      add(shape.codec, qkv, shape.hidden, random);
      add(shape.codec, {shape.hidden}, q, random);
      add(shape.codec, {2 * shape.intermediate}, shape.hidden, random);
      add(shape.codec, {shape.hidden}, shape.intermediate, random);
      norms_.push_back(kernels::random_floats(random, shape.hidden));
      norms_.push_back(kernels::random_floats(random, shape.hidden));
    }
    x_ = kernels::random_floats(random, int64_t{sequences} * shape.hidden);
    for (int i = 0; i < shape.head_dim / 4; ++i) {
      rope_.inv_freq.push_back(
          std::pow(10000.0f, -4.0f * static_cast<float>(i) / static_cast<float>(shape.head_dim)));
    }
  }

  // The residual stream after each of a few steps, layers at once or by single operations.
  std::vector<float> run(Backend& backend, bool at_once) {
    std::vector<kernels::LayerWeights> weights(kLayers);
    std::vector<Buffer> caches;
    std::vector<kernels::LayerStep> steps;
    const LayerScratch scratch(backend, config_, sequences_);
    Buffer x = kernels::upload(backend, x_);
    for (int layer = 0; layer < kLayers; ++layer) {
      load(backend, layer, weights[static_cast<size_t>(layer)]);
      steps.push_back(layer_step(config_, layer));
      steps.back().weights = &weights[static_cast<size_t>(layer)];
      steps.back().x = x.floats();
      for (std::byte** to : {&steps.back().cache.k, &steps.back().cache.v}) {
        caches.push_back(zeros(backend));
        *to = caches.back().bytes();
      }
      steps.back().cache.k_type = steps.back().cache.v_type = cache_;
    }
    std::vector<float> out;
    for (const int past : {0, 1, 150}) {
      begin(backend, past);
      if (at_once) {
        EXPECT_EQ(backend.layers_step(steps), steps.size());
      } else {
        for (const auto& step : steps) run_layer(backend, step, scratch, sequences_);
      }
      const auto now = kernels::download(backend, x.floats(), x_.size());
      out.insert(out.end(), now.begin(), now.end());
      x = kernels::upload(backend, x_);
      for (auto& step : steps) step.x = x.floats();
    }
    return out;
  }

 private:
  static constexpr int kPages = 6;  // of a sequence

  struct Matrices {
    std::vector<std::unique_ptr<TestMatrix>> parts;
  };

  // With more sequences, layers with biases are left to single operations.
  bool biased() const { return sequences_ <= 16; }

  void add(std::string_view codec, const std::vector<int>& rows, int cols, Random& random) {
    Matrices& to = matrices_.emplace_back();
    const auto seed = random();
    for (const int r : rows) {
      Random same(seed);  // parts of one input are rotated alike
      to.parts.push_back(std::make_unique<TestMatrix>(codec, r, cols, codec != "sparse", same));
    }
  }

  Linear linear(Backend& backend, int index) const {
    Linear linear;
    for (const auto& part : matrices_[static_cast<size_t>(index)].parts) {
      Random random(static_cast<unsigned>(index));
      Linear::Part& to = linear.parts.emplace_back();
      to.weight = backend.load(part->matrix());
      if (biased()) {
        to.bias = kernels::upload(backend, kernels::random_floats(random, part->matrix().rows));
      }
      linear.rows += part->matrix().rows;
      linear.cols = part->matrix().cols;
    }
    return linear;
  }

  void load(Backend& backend, int layer, kernels::LayerWeights& w) const {
    w.qkv = linear(backend, 4 * layer);
    w.attention_out = linear(backend, 4 * layer + 1);
    w.gate_up = linear(backend, 4 * layer + 2);
    w.down = linear(backend, 4 * layer + 3);
    w.attention_norm = kernels::upload(backend, norms_[static_cast<size_t>(2 * layer)]);
    w.mlp_norm = kernels::upload(backend, norms_[static_cast<size_t>(2 * layer + 1)]);
  }

  Buffer zeros(Backend& backend) const {
    const auto& a = config_.attention;
    const size_t bytes = kernels::kv_row_bytes(cache_, a.head_dim) *
                         static_cast<size_t>(a.kv_heads * kPageTokens * kPages * sequences_);
    const std::vector<std::byte> zero(bytes);
    Buffer buffer = backend.allocate(bytes);
    backend.upload(buffer.bytes(), zero.data(), bytes);
    return buffer;
  }

  // Sequences of different lengths.
  void begin(Backend& backend, int past) const {
    std::vector<int32_t> ids(static_cast<size_t>(sequences_));
    std::vector<int32_t> pages(static_cast<size_t>(sequences_ * kPages));
    std::iota(pages.rbegin(), pages.rend(), 0);
    std::vector<kernels::SequenceSlice> slices;
    for (int s = 0; s < sequences_; ++s) {
      const std::span<const int32_t> own(pages.data() + s * kPages, kPages);
      slices.push_back({s, 1, past + s % 7, own});
    }
    const std::vector<const kernels::Rope*> ropes(slices.size(), &rope_);
    backend.begin_step({sequences_, ids, slices, ropes});
  }

  int sequences_;
  kernels::KvType cache_;
  ModelConfig config_;
  std::vector<Matrices> matrices_;
  std::vector<std::vector<float>> norms_;
  std::vector<float> x_;
  kernels::Rope rope_;
};

// Largest difference of a row's values, as a share of its length.
double difference(const std::vector<float>& a, const std::vector<float>& b, int cols) {
  double most = 0;
  for (size_t row = 0; row < a.size(); row += static_cast<size_t>(cols)) {
    double length = 0;
    double apart = 0;
    for (size_t i = row; i < row + static_cast<size_t>(cols); ++i) {
      length += double{a[i]} * a[i];
      apart += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    }
    most = std::max(most, std::isfinite(apart) ? std::sqrt(apart / length) : INFINITY);
  }
  return most;
}

TEST(LayerStep, SaysWhatSingleOperationsSay) {
  const Shape shapes[] = {{256, 1024, 4, 1, 64, "path3", false, 0},
                          {384, 640, 4, 2, 128, "path4", true, 0},
                          {768, 2688, 12, 3, 64, "path2", false, 0},
                          {1280, 4480, 10, 5, 128, "path3", false, 100},
                          {512, 896, 8, 1, 128, "int8", false, 0},
                          {512, 768, 4, 4, 128, "path3-one", true, 0},
                          {256, 512, 2, 1, 128, "sparse", false, 0},
                          {512, 768, 8, 2, 96, "path3", false, 0},
                          {768, 768, 12, 3, 64, "path3", false, 90, kernels::KvType::kQ8},
                          {512, 768, 8, 2, 96, "path3", false, 0, kernels::KvType::kQ8},
                          {1280, 896, 10, 5, 128, "path3", false, 0, kernels::KvType::kQ8}};
  for (const kernels::BackendRow* row : kernels::runnable_backends()) {
    if (row->device != "cuda") continue;
    const auto backend = kernels::make_backend(*row, 1);
    for (const Shape& shape : shapes) {
      for (const int sequences : {2, 7, 8, 9, 16, 31, 32}) {
        SCOPED_TRACE(
            fmt::format("{} hidden {}, {} sequences", shape.codec, shape.hidden, sequences));
        Layers layers(shape, sequences);
        const std::vector<float> want = layers.run(*backend, false);
        const std::vector<float> first = layers.run(*backend, true);
        EXPECT_EQ(first, layers.run(*backend, true));  // the same bits on every run
        // Last bits turn roundings of int8 activations over.
        EXPECT_LE(difference(want, first, shape.hidden), 5e-2);
      }
    }
  }
}

}  // namespace
}  // namespace upg::model
