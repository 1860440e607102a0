#include "kernels/cuda/token_runner.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/cuda/device_weight.h"

namespace upg::kernels::cuda {
namespace {

constexpr int kPhasesPerLayer = 4;

const DeviceWeight& weight_of(const Linear::Part& part) {
  return static_cast<const DeviceWeight&>(*part.weight);
}

int head_chunks_of(const AttentionShape& shape) {
  return (shape.heads / shape.kv_heads + kTokenHeads - 1) / kTokenHeads;
}

int units_of(const AttentionShape& shape) { return shape.kv_heads * head_chunks_of(shape); }

// Parts that share one integer input.
bool knows(const Linear& linear) {
  if (linear.parts.size() > kMatrices || linear.cols % 4 != 0) return false;
  const uint8_t* signs = weight_of(linear.parts[0]).signs();
  return std::all_of(linear.parts.begin(), linear.parts.end(), [&](const Linear::Part& part) {
    const DeviceWeight& weight = weight_of(part);
    return vectors_of(weight.view().kind) > 0 && vectors_of(weight.view().kind) <= kMostVectors &&
           weight.signs() == signs;
  });
}

// A warp of the grid for every block of the input.
bool knows_inputs(const Linear& linear, const DeviceLimits& limits) {
  return codec::blocks_of(linear.cols) <= kTokenWarps * limits.multiprocessors;
}

// Rows are added to by the threads that had them before: those of one matrix.
bool knows_added(const Linear& linear) { return linear.parts.size() == 1; }

// Gate and up as one matrix or as two of the same kind of rows.
bool knows_gated(const Linear& linear, int64_t intermediate) {
  return intermediate % 4 == 0 && linear.parts.size() <= 2;
}

bool knows(const LayerStep& layer, const DeviceLimits& limits) {
  const LayerWeights& w = *layer.weights;
  const AttentionShape& shape = layer.attention;
  return knows(w.qkv) && knows(w.attention_out) && knows(w.gate_up) && knows(w.down) &&
         knows_inputs(w.qkv, limits) && knows_inputs(w.down, limits) &&
         knows_added(w.attention_out) && knows_added(w.down) &&
         knows_gated(w.gate_up, layer.intermediate) && has_fast_attention(shape.head_dim) &&
         shape.rotary_dims / 2 <= kMaxHalfRotary && layer.cache.k_type == layer.cache.v_type &&
         units_of(shape) <= limits.multiprocessors;
}

bool same(const LayerStep& a, const LayerStep& b) {
  return a.weights == b.weights && a.cache.k == b.cache.k && a.cache.v == b.cache.v &&
         a.cache.k_type == b.cache.k_type && a.attention.window == b.attention.window;
}

}  // namespace

bool TokenRunner::same_as_last(const TokenStep& step) const {
  return step.logits == logits_ && step.x == x_ &&
         std::equal(step.layers.begin(), step.layers.end(), layers_.begin(), layers_.end(), same);
}

bool TokenRunner::add_phase(const TokenPhase& start, const Linear& linear) {
  TokenPhase phase = start;
  phase.signs = weight_of(linear.parts[0]).signs();
  phase.cols = static_cast<int32_t>(linear.cols);
  phase.blocks = static_cast<int32_t>(codec::blocks_of(linear.cols));
  phase.group_chunks = chunks_of(phase.blocks);
  phase.parts = static_cast<int32_t>(linear.parts.size());
  int groups = 0;
  int rows = 0;
  for (size_t p = 0; p < linear.parts.size(); ++p) {
    const MatrixView& view = weight_of(linear.parts[p]).view();
    phase.part[p] = {.codes = view.codes,
                     .scale = view.scale,
                     .bias = linear.parts[p].bias.floats(),
                     .palette = view.palette,
                     .kind = view.kind,
                     .two_palettes = view.two_palettes,
                     .rows = static_cast<int32_t>(view.rows),
                     .first_row = rows,
                     .first_group = groups,
                     .block_bytes = 64 * vectors_of(view.kind),
                     .group_bytes = 64 * vectors_of(view.kind) * phase.blocks,
                     .pad = 0};
    groups += static_cast<int>((view.rows + 3) / 4);
    rows += static_cast<int>(view.rows);
  }
  const bool gated = phase.output == TokenOutput::kGated;
  phase.items = gated ? rows / 8 : groups;
  const int most_items = (phase.items + limits_.multiprocessors - 1) / limits_.multiprocessors;
  sizes_.most_blocks = std::max(sizes_.most_blocks, phase.blocks);
  sizes_.most_groups = std::max(sizes_.most_groups, most_items * (gated ? 2 : 1));
  phases_.push_back(phase);
  return true;
}

bool TokenRunner::add_layer(const LayerStep& layer) {
  if (!knows(layer, limits_) || layer.cache.k_type != kv_type_) return false;
  const LayerWeights& w = *layer.weights;
  const TokenArguments& a = arguments_;
  Marked* gated = a.qkv + layer.attention.qkv_width();
  add_phase({.input = TokenInput::kNormed,
             .output = TokenOutput::kSet,
             .source = a.marked,
             .norm = w.attention_norm.floats(),
             .marked = a.qkv,
             .q_norm = w.q_norm.floats(),
             .k_norm = w.k_norm.floats(),
             .k = reinterpret_cast<uint8_t*>(layer.cache.k),
             .v = reinterpret_cast<uint8_t*>(layer.cache.v),
             .window = layer.attention.window},
            w.qkv);
  add_phase({.input = TokenInput::kAttended,
             .output = TokenOutput::kAdd,
             .target = layer.x,
             .marked = a.marked},
            w.attention_out);
  add_phase({.input = TokenInput::kNormed,
             .output = TokenOutput::kGated,
             .source = a.marked,
             .norm = w.mlp_norm.floats(),
             .marked = gated},
            w.gate_up);
  add_phase({.input = TokenInput::kPlain,
             .output = TokenOutput::kAdd,
             .source = gated,
             .target = layer.x,
             .marked = a.marked},
            w.down);
  return true;
}

// Everything the program writes to.
void TokenRunner::allocate(const TokenStep& step) {
  const LayerStep& layer = step.layers.front();
  const AttentionShape& shape = layer.attention;
  const int64_t hidden = static_cast<int64_t>(layer.weights->qkv.cols);
  const int64_t units = units_of(shape);
  const int splits = token_splits(static_cast<int>(units), INT32_MAX / 2, limits_.multiprocessors);
  const int64_t parts = units * kTokenHeads * splits * (shape.head_dim + kPartExtra);
  const int64_t widest = std::max({hidden, int64_t{shape.q_width()}, int64_t{layer.intermediate}});
  const int64_t vectors = codec::blocks_of(widest) * kBlockVectors;
  const int64_t floats = (hidden + 3) / 4 * 4 + shape.qkv_width() + layer.intermediate + parts;
  const int64_t bytes =
      2 * vectors * int64_t{sizeof(MarkedVector)} + floats * int64_t{sizeof(Marked)};
  TokenArguments& a = arguments_;
  a = {};
  a.prepared[0] = reinterpret_cast<MarkedVector*>(marked_.reserve<uint8_t>(bytes));
  a.prepared[1] = a.prepared[0] + vectors;
  a.parts = reinterpret_cast<Marked*>(a.prepared[1] + vectors);
  a.marked = a.parts + parts;
  a.qkv = a.marked + (hidden + 3) / 4 * 4;
  a.mark = 1;  // memory is zero
  check(cudaMemsetAsync(a.prepared[0], 0, static_cast<size_t>(bytes), stream_), "marked values");
}

bool TokenRunner::build(const TokenStep& step) {
  layers_.assign(step.layers.begin(), step.layers.end());
  logits_ = step.logits;
  x_ = step.x;
  phases_.clear();
  sizes_ = {};
  if (!limits_.cooperative || step.layers.empty()) return false;
  const MatrixView& embedding = static_cast<const DeviceWeight&>(*step.embedding).view();
  if (embedding.kind == Kind::kMdcsr) return false;
  if (static_cast<const DeviceWeight&>(*step.embedding).signs() != nullptr) return false;
  if (!knows(*step.head) || !knows_inputs(*step.head, limits_)) return false;
  kv_type_ = layers_[0].cache.k_type;
  allocate(step);
  for (const LayerStep& layer : layers_) {
    if (!add_layer(layer)) return false;
  }
  if (step.logits != nullptr) {
    add_phase({.input = TokenInput::kNormed,
               .output = TokenOutput::kSet,
               .source = arguments_.marked,
               .norm = step.final_norm,
               .target = step.logits},
              *step.head);
  }
  const TokenMemory memory = plan_token_memory(sizes_, token_fixed_shared_bytes(), limits_);
  if (!memory.fits) return false;
  const AttentionShape& shape = layers_[0].attention;
  TokenArguments& a = arguments_;
  a.embedding = embedding;
  a.x = step.x;
  a.act_bytes = memory.act_bytes;
  a.partial_bytes = memory.partial_bytes;
  a.most_groups = sizes_.most_groups;
  a.heads = shape.heads;
  a.kv_heads = shape.kv_heads;
  a.head_dim = shape.head_dim;
  a.half_rotary = shape.rotary_dims / 2;
  a.k_row = static_cast<int64_t>(kv_row_bytes(kv_type_, shape.head_dim));
  a.v_row = a.k_row;
  a.scale = shape.scale;
  a.epsilon = step.norm_epsilon;
  const size_t bytes = phases_.size() * sizeof(TokenPhase);
  program_ = DeviceArray(bytes);
  check(
      cudaMemcpyAsync(program_.as<void>(), phases_.data(), bytes, cudaMemcpyHostToDevice, stream_),
      "program of a token");
  check(cudaStreamSynchronize(stream_), "program of a token");
  return true;
}

void TokenRunner::set_token(const StepTables& tables) {
  TokenArguments& a = arguments_;
  a.id = tables.ids()[0];
  a.position = tables.positions()[0];
  const std::vector<float>& rope = tables.inv_freq();
  UPG_CHECK(a.half_rotary == 0 || a.half_rotary == tables.half());
  for (int i = 0; i < a.half_rotary; ++i) {
    const float angle = static_cast<float>(a.position) * rope[static_cast<size_t>(i)];
    a.cos[i] = std::cos(angle) * rope.back();
    a.sin[i] = std::sin(angle) * rope.back();
  }
  if (tables.pages() != pages_on_device_) {
    pages_on_device_ = tables.pages();
    const size_t bytes = pages_on_device_.size() * sizeof(int32_t);
    if (pages_.bytes() < bytes) pages_ = DeviceArray(2 * bytes);
    // From pageable memory: the call returns when the bytes are taken.
    check(cudaMemcpyAsync(pages_.as<int32_t>(), pages_on_device_.data(), bytes,
                          cudaMemcpyHostToDevice, stream_),
          "pages of a sequence");
  }
  a.pages = pages_.as<int32_t>();
  int positions = a.position + 1;
  if (layers_[0].attention.window > 0) positions = std::min(positions, layers_[0].attention.window);
  a.splits = token_splits(units_of(layers_[0].attention), positions, limits_.multiprocessors);
}

bool TokenRunner::run(const TokenStep& step, const StepTables& tables, bool by_layer) {
  if (!same_as_last(step)) possible_ = build(step);
  if (!possible_) return false;
  set_token(tables);
  TokenArguments& a = arguments_;
  const auto all = static_cast<int>(phases_.size());
  const int at_once = by_layer ? kPhasesPerLayer : all;
  const auto layers = static_cast<int>(layers_.size());
  launches_ = 0;
  for (int first = 0; first < kPhasesPerLayer * layers; first += at_once) {
    const bool last = first + at_once >= kPhasesPerLayer * layers;
    a.phases = program_.as<TokenPhase>() + first;
    a.phase_count = last ? all - first : at_once;
    a.first_phase_is_embedding = first == 0;
    check(launch_token(a, kv_type_, limits_.multiprocessors, stream_), "token");
    a.mark += static_cast<uint32_t>(a.phase_count) + 1;
    ++launches_;
  }
  return true;
}

}  // namespace upg::kernels::cuda
