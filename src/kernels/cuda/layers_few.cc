#include "kernels/cuda/layers_few.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/device_weight.h"

namespace upg::kernels::cuda {
namespace {

constexpr int64_t kBlock = codec::kBlockColumns;

const DeviceWeight& weight_of(const Linear::Part& part) {
  return static_cast<const DeviceWeight&>(*part.weight);
}
const uint8_t* signs_of(const Linear& linear) { return weight_of(linear.parts[0]).signs(); }

// One prepares the other's input, in the same memory.
bool alike(const LayerStep& a, const LayerStep& b) {
  return a.x == b.x && a.hidden == b.hidden && a.intermediate == b.intermediate &&
         a.attention.heads == b.attention.heads && a.attention.kv_heads == b.attention.kv_heads &&
         a.attention.head_dim == b.attention.head_dim;
}

// Two tile buffers take turns: what a kernel reads, it does not write.
constexpr int kNormed = 0;  // of qkv, gate and up
constexpr int kPlain = 1;   // of the attention's output, down

}  // namespace

void FewLayers::launched(std::string_view what) {
  ++launches_;
  check(cudaGetLastError(), what);
}

bool FewLayers::fits(const Linear& linear, bool whole_blocks) const {
  return std::all_of(linear.parts.begin(), linear.parts.end(), [&](const Linear::Part& part) {
    const MatrixView& w = weight_of(part).view();
    if (!takes_integers(w.kind) || weight_of(part).signs() != signs_of(linear)) return false;
    return few_plan_of(w, tiled_rows_, whole_blocks, limits_).fits;
  });
}

// By multiply_normed().
bool FewLayers::takes_normed(const Linear& linear) const {
  if (few_) return fits(linear, false);
  return std::all_of(linear.parts.begin(), linear.parts.end(), [&](const Linear::Part& part) {
    return takes_integers(weight_of(part).view().kind) && part.bias.size() == 0 &&
           weight_of(part).signs() == signs_of(linear);
  });
}

// By multiply_gated(), and by takes_normed().
bool FewLayers::takes_gated(const Linear& linear) const {
  if (linear.parts.size() != 1 || !takes_normed(linear)) return false;
  if (!few_) return true;
  const MatrixView& w = weight_of(linear.parts[0]).view();
  const auto tiles = static_cast<int>((w.rows + kFewTileRows - 1) / kFewTileRows);
  const int groups = few_plan_of(w, tiled_rows_, false, limits_).groups;
  return most_gated_blocks(tiles, groups) <= kMostGatedBlocks;
}

bool FewLayers::knows(const LayerStep& layer) const {
  const LayerWeights& w = *layer.weights;
  const bool whole = layer.hidden % kBlock == 0 && layer.intermediate % kBlock == 0 &&
                     w.attention_out.cols % kBlock == 0;
  return whole && has_few_attention(layer.attention, layer.cache) &&
         w.attention_out.parts.size() == 1 && w.down.parts.size() == 1 && takes_normed(w.qkv) &&
         takes_gated(w.gate_up) && fits(w.attention_out, true) && fits(w.down, true);
}

void FewLayers::allocate(const LayerStep& layer) {
  const int64_t widest =
      std::max({layer.hidden, int64_t{layer.attention.q_width()}, int64_t{layer.intermediate}});
  const int64_t blocks = widest / kBlock;
  for (int i = 0; i < 2; ++i) {
    q_[i].reserve<int8_t>(blocks * tiled_rows_ * kBlock);
    scale_[i].reserve<uint32_t>(2 * blocks * tiled_rows_);
  }
  squares_.reserve<float>(kMostFewInputs * blocks);
  floats_.reserve<float>(tokens_ * std::max(int64_t{layer.attention.qkv_width()},
                                            (few_ ? 1 : 2) * layer.intermediate));
  const int64_t gated = layer.intermediate / kBlock;
  if (gated_tiles_.bytes() >= sizeof(int) * static_cast<size_t>(gated)) return;
  gated_tiles_.reserve<int>(gated);
  check(cudaMemsetAsync(gated_tiles_.as<int>(), 0, gated_tiles_.bytes(), stream_), "counters");
}

TileForm FewLayers::tiles(int index, const Linear& linear) const {
  return {signs_of(linear), q_[index].as<int8_t>(), scale_[index].as<uint32_t>(), tiled_rows_};
}

InputView FewLayers::input(int index, const Linear& linear) const {
  InputView x = {};
  x.q = q_[index].as<int8_t>();
  x.blocks = codec::blocks_of(linear.cols);
  x.rows = tokens_;
  x.tiled_rows = tiled_rows_;
  x.tile_scale = scale_[index].as<uint32_t>();
  return x;
}

void FewLayers::multiply(const Linear& linear, int input_index, float* y, int64_t stride, bool add,
                         const FewEnd& end) {
  const InputView x = input(input_index, linear);
  for (const Linear::Part& part : linear.parts) {
    const OutputView out = {y, stride, part.bias.floats(), add};
    UPG_CHECK(multiply_few(weight_of(part).view(), x, out, end, scratch_, limits_, stream_));
    launched("product");
    y += part.weight->rows();
  }
}

// A product whose input has no norm yet. The norm is left to those who take the output of many
// inputs.
InputNorm FewLayers::multiply_normed(const Linear& linear, float* y, const InputNorm& norm) {
  if (few_) {
    FewEnd end;
    end.norm = norm;
    multiply(linear, kNormed, y, linear.rows, false, end);
    return {};
  }
  const InputView x = input(kNormed, linear);
  for (const Linear::Part& part : linear.parts) {
    multiply_on_hopper(weight_of(part).view(), x, {y, linear.rows, nullptr, false}, scratch_,
                       limits_.multiprocessors, stream_);
    launched("product");
    y += part.weight->rows();
  }
  return norm;
}

void FewLayers::attend(const LayerStep& layer, const InputNorm& norm, const StepView& step) {
  const LayerWeights& w = *layer.weights;
  static_assert(kMostAttentionUnits <= kMostPartTiles);
  const FewAttention attention = {
      .qkv = floats_.as<float>(),
      .norm = norm,
      .shape = layer.attention,
      .q_norm = w.q_norm.floats(),
      .k_norm = w.k_norm.floats(),
      .epsilon = layer.norm_epsilon,
      .cache = layer.cache,
      .step = step,
      .to = tiles(kPlain, w.attention_out),
      .row_bytes = static_cast<int>(kv_row_bytes(layer.cache.k_type, layer.attention.head_dim)),
      .plan = plan_,
      .parts = scratch_.parts,
      .counters = scratch_.counters};
  attend_to_tiles(attention, stream_);
  launched("attention");
}

// Gate and up, and down's input.
void FewLayers::multiply_gated(const LayerStep& layer, const InputNorm& norm) {
  const LayerWeights& w = *layer.weights;
  auto* floats = floats_.as<float>();
  const TileForm to = tiles(kPlain, w.down);
  if (few_) {
    FewEnd end;
    end.norm = norm;
    end.gated = 1;
    end.gated_tiles = gated_tiles_.as<int>();
    end.to = to;
    return multiply(w.gate_up, kNormed, floats, layer.intermediate, false, end);
  }
  multiply_normed(w.gate_up, floats, norm);
  normed_gated_to_tiles(floats, tokens_, layer.intermediate, norm, to, stream_);
  launched("inputs of a product");
}

// next: the layer whose input is prepared, or nullptr.
void FewLayers::run_layer(const LayerStep& layer, const LayerStep* next, const StepView& step) {
  const LayerWeights& w = *layer.weights;
  auto* floats = floats_.as<float>();
  const InputNorm norm = {squares_.as<float>(), static_cast<int>(layer.hidden / kBlock),
                          static_cast<int>(layer.hidden), layer.norm_epsilon};
  attend(layer, multiply_normed(w.qkv, floats, norm), step);
  FewEnd prepared;
  prepared.squares = squares_.as<float>();
  prepared.weight = w.mlp_norm.floats();
  prepared.to = tiles(kNormed, w.gate_up);
  multiply(w.attention_out, kPlain, layer.x, layer.hidden, true, prepared);
  multiply_gated(layer, norm);
  FewEnd after;
  if (next != nullptr) {
    after.squares = squares_.as<float>();
    after.weight = next->weights->attention_norm.floats();
    after.to = tiles(kNormed, next->weights->qkv);
  }
  multiply(w.down, kPlain, layer.x, layer.hidden, true, after);
}

// Where the sequences' positions lie, as this layer sees them.
void FewLayers::plan_attention(const AttentionShape& shape, const StepTables& tables) {
  plan_ =
      plan_few_attention(tables.positions(), shape.kv_heads, shape.window, limits_.multiprocessors);
}

size_t FewLayers::run(std::span<const LayerStep> layers, StepTables& tables,
                      const ProductScratch& scratch) {
  launches_ = 0;
  scratch_ = scratch;
  tokens_ = tables.tokens();
  if (tokens_ < 2 || tokens_ > kMostFewInputs || !tables.one_each()) return 0;
  tiled_rows_ = static_cast<int>(tiled_rows_of(tokens_));
  few_ = tiled_rows_ <= kFewInputs;
  if (layers.empty() || !knows(layers[0])) return 0;
  const LayerStep& first = layers[0];
  allocate(first);
  const StepView& step = tables.device();
  scaled_to_tiles(first.x, first.weights->attention_norm.floats(), tokens_, first.hidden,
                  tiles(kNormed, first.weights->qkv), squares_.as<float>(), stream_);
  launched("inputs of a product");
  plan_attention(first.attention, tables);
  for (size_t i = 0;; ++i) {
    const LayerStep& layer = layers[i];
    const LayerStep* next = i + 1 < layers.size() ? &layers[i + 1] : nullptr;
    if (next != nullptr && !(alike(layer, *next) && knows(*next))) next = nullptr;
    UPG_CHECK(layer.attention.rotary_dims == 0 || layer.attention.rotary_dims == step.rotary_dims);
    run_layer(layer, next, step);
    if (next == nullptr) return i + 1;
    if (next->attention.window != layer.attention.window) plan_attention(next->attention, tables);
  }
}

}  // namespace upg::kernels::cuda
