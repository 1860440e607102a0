// One model's way through the calibration text, a layer at a time: the residual streams of all
// windows, and the inputs of each linear layer in the order of the graph.
//
// Two tracks run side by side: the original weights and the weights as coded so far.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "compress/activation_store.h"
#include "compress/calibration_text.h"
#include "kernels/backend.h"
#include "model/config.h"

namespace upg::compression {

class CalibrationTrack {
 public:
  CalibrationTrack(const model::ModelConfig& config, kernels::Backend& backend,
                   const CalibrationText& text, const std::filesystem::path& folder,
                   bool in_memory);

  // Starts over: the streams become the tokens' embeddings.
  void embed(const kernels::Weight& embedding);

  // The weights of the layer the streams stand before. Linear layers are used only after the step
  // whose inputs they read, so that they may be replaced until then.
  kernels::LayerWeights layer;
  int window_size = 0;  // attention's, of this layer

  // Inputs of the layer's matrices for one window, [tokens, cols], in the backend's memory, valid
  // until the next call of any. Work may still be queued there.
  const float* attention_input(int window);  // of qkv
  const float* attended(int window);         // of attention_out
  const float* mlp_input(int window);  // of gate_up; once a window: adds attention_out's output
  const float* gated(int window);      // of down
  void finish(int window);             // adds down's output: the stream stands after the layer
  // The residual stream [tokens, hidden] as the last of these calls for the window left it.
  const float* stream(int window) { return stream_.window(window); }
  // The same in the backend's memory, after attended() or gated() of that window.
  const float* stream_there() const noexcept { return x_.floats(); }
  // bytes: [tokens, hidden] floats, in place of what the stream was.
  void set_stream(int window, std::span<const std::byte> bytes);
  void release(int window) noexcept { stream_.release(window); }  // the stream's pages
  // Of the head: [tokens, hidden] after the final norm.
  const float* final_input(int window, const float* final_norm);

 private:
  void begin(int window);
  void norm(int window, const float* weight);
  void multiply(float* y, const kernels::Linear& linear, const float* x, kernels::Store store);

  const model::ModelConfig& config_;
  kernels::Backend& backend_;
  const CalibrationText& text_;
  ActivationStore stream_;    // [tokens, hidden] a window
  ActivationStore attended_;  // [tokens, q_width] a window
  kernels::Buffer x_, normed_, qkv_, heads_, gate_up_, gated_, cache_k_, cache_v_;
  std::vector<int32_t> pages_;
};

}  // namespace upg::compression
