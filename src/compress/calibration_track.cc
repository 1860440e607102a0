#include "compress/calibration_track.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"
#include "base/checked.h"

namespace upg::compression {
namespace {

using kernels::Store;

constexpr kernels::KvType kCacheType = kernels::KvType::kF32;

}  // namespace

CalibrationTrack::CalibrationTrack(const model::ModelConfig& config, kernels::Backend& backend,
                                   const CalibrationText& text, const std::filesystem::path& folder,
                                   bool in_memory)
    : config_(config),
      backend_(backend),
      text_(text),
      stream_(text.windows, text.tokens * config.hidden, folder, in_memory),
      attended_(text.windows, int64_t{text.tokens} * config.attention.q_width(), folder,
                in_memory) {
  const auto floats = [&](int64_t cols) {
    return backend.allocate(static_cast<size_t>(text.tokens * cols) * sizeof(float));
  };
  x_ = floats(config.hidden);
  normed_ = floats(config.hidden);
  qkv_ = floats(config.attention.qkv_width());
  heads_ = floats(config.attention.q_width());
  gate_up_ = floats(2 * config.intermediate);
  gated_ = floats(config.intermediate);
  pages_.resize(static_cast<size_t>(base::ceil_div(text.tokens, kernels::kPageTokens)));
  std::iota(pages_.begin(), pages_.end(), 0);
  const size_t cache_bytes = pages_.size() * kernels::kPageTokens *
                             static_cast<size_t>(config.attention.kv_heads) *
                             kernels::kv_row_bytes(kCacheType, config.attention.head_dim);
  cache_k_ = backend.allocate(cache_bytes);
  cache_v_ = backend.allocate(cache_bytes);
}

// The window as a step of one sequence.
void CalibrationTrack::begin(int window) {
  const bool is_long = config_.long_from > 0 && text_.tokens > config_.long_from;
  const kernels::Rope* rope = is_long ? &config_.long_rope : &config_.rope;
  const kernels::SequenceSlice slice{
      .first = 0, .tokens = text_.tokens, .past = 0, .pages = pages_};
  kernels::StepBatch batch;
  batch.tokens = text_.tokens;
  batch.ids = text_.window(window);
  batch.sequences = {&slice, 1};
  batch.ropes = {&rope, 1};
  backend_.begin_step(batch);
}

void CalibrationTrack::embed(const kernels::Weight& embedding) {
  for (int window = 0; window < text_.windows; ++window) {
    begin(window);
    backend_.embed(x_.floats(), embedding);
    backend_.download(stream_.window(window), x_.floats(), x_.size());
    stream_.release(window);
  }
}

void CalibrationTrack::set_stream(int window, std::span<const std::byte> bytes) {
  UPG_CHECK(bytes.size() == x_.size());
  std::memcpy(stream_.window(window), bytes.data(), bytes.size());
}

void CalibrationTrack::norm(int window, const float* weight) {
  backend_.upload(x_.floats(), stream_.window(window), x_.size());
  backend_.rms_norm(normed_.floats(), x_.floats(), weight, config_.norm_epsilon, text_.tokens,
                    config_.hidden);
}

void CalibrationTrack::multiply(float* y, const kernels::Linear& linear, const float* x,
                                Store store) {
  backend_.matmul(y, linear, backend_.prepare(x, text_.tokens, linear), text_.tokens, store);
}

const float* CalibrationTrack::attention_input(int window) {
  norm(window, layer.attention_norm.floats());
  stream_.release(window);
  return normed_.floats();
}

const float* CalibrationTrack::attended(int window) {
  begin(window);
  norm(window, layer.attention_norm.floats());
  multiply(qkv_.floats(), layer.qkv, normed_.floats(), Store::kSet);
  kernels::AttentionShape shape = config_.attention;
  shape.window = window_size;
  backend_.rope(qkv_.floats(), shape, layer.q_norm.floats(), layer.k_norm.floats(),
                config_.norm_epsilon);
  const kernels::KvLayer cache{
      .k = cache_k_.bytes(), .v = cache_v_.bytes(), .k_type = kCacheType, .v_type = kCacheType};
  backend_.attention(heads_.floats(), qkv_.floats(), shape, cache);
  backend_.download(attended_.window(window), heads_.floats(), heads_.size());
  stream_.release(window);
  return heads_.floats();
}

const float* CalibrationTrack::mlp_input(int window) {
  backend_.upload(x_.floats(), stream_.window(window), x_.size());
  backend_.upload(heads_.floats(), attended_.window(window), heads_.size());
  multiply(x_.floats(), layer.attention_out, heads_.floats(), Store::kAdd);
  backend_.download(stream_.window(window), x_.floats(), x_.size());
  attended_.release(window);
  norm(window, layer.mlp_norm.floats());
  stream_.release(window);
  return normed_.floats();
}

const float* CalibrationTrack::gated(int window) {
  norm(window, layer.mlp_norm.floats());
  multiply(gate_up_.floats(), layer.gate_up, normed_.floats(), Store::kSet);
  backend_.swiglu(gated_.floats(), gate_up_.floats(), text_.tokens, config_.intermediate);
  stream_.release(window);
  return gated_.floats();
}

void CalibrationTrack::finish(int window) {
  // Computed again rather than kept: for all windows it would take more disk than everything else.
  norm(window, layer.mlp_norm.floats());
  multiply(gate_up_.floats(), layer.gate_up, normed_.floats(), Store::kSet);
  backend_.swiglu(gated_.floats(), gate_up_.floats(), text_.tokens, config_.intermediate);
  multiply(x_.floats(), layer.down, gated_.floats(), Store::kAdd);
  backend_.download(stream_.window(window), x_.floats(), x_.size());
  stream_.release(window);
}

const float* CalibrationTrack::final_input(int window, const float* final_norm) {
  norm(window, final_norm);
  return normed_.floats();
}

}  // namespace upg::compression
