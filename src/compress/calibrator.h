// Runs the calibration text through the original and the compressed model, layer by layer, and
// hands each matrix the problem its inputs pose.
//
// Call order is the checkpoint's: the embedding coded first, then per layer each matrix:
// problem_for, then coded. What a matrix's inputs are depends on every matrix before it.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "compress/calibration_device.h"
#include "compress/calibration_text.h"
#include "compress/calibration_track.h"
#include "kernels/backend.h"
#include "model/source.h"

namespace upg::compression {

struct CalibratorOptions {
  double damping = 0.01;
  bool in_memory = true;  // activations; else in a file in `folder`
  std::filesystem::path folder;
  std::function<void(std::string_view)> stage;  // told what is being run; may throw to stop
  // Told that both streams stand before that layer, which has not been entered.
  std::function<void(int layer)> reached;
};

class Calibrator {
 public:
  // source: the original checkpoint; must outlive this.
  Calibrator(std::shared_ptr<const model::ModelSource> source, const CalibrationText& text,
             CalibrationDevice& device, CalibratorOptions options);
  ~Calibrator();

  // The problem of a matrix of a layer or of an untied head, in the basis that `signs` gives (null:
  // not rotated). Valid until the next call. Runs the layers up to it first. keep_sums: another
  // matrix may ask for the same inputs in another basis.
  const Problem& problem_for(const model::TensorSpec& spec, const uint8_t* signs, bool keep_sums);

  // The matrix as it will be in the file, for everything after it. What it views must live until
  // the next layer's first matrix is coded.
  void coded(const model::TensorSpec& spec, const codec::Matrix& matrix);

  CalibrationTrack& original() noexcept { return original_; }
  CalibrationTrack& compressed() noexcept { return compressed_; }
  // Somebody has set both streams to what they are before that layer: what was before it need not
  // be run, and what is coded() of it is passed over.
  void start_at(int layer);
  // As after the construction, before anything was coded.
  void start_over();

  double forward_seconds() const noexcept { return forward_seconds_; }
  double moments_seconds() const noexcept { return moments_seconds_; }
  double factor_seconds() const noexcept { return factor_seconds_; }

 private:
  // Runs everything before that stage of that layer; stages whose inputs nobody asked for included.
  void advance(int layer, int stage);
  void enter_layer(int layer);
  void leave_layer();
  void run_stage(int stage);
  void measure(int64_t cols, bool adds, std::string_view what,
               const std::function<const float*(CalibrationTrack&, int)>& input);

  std::shared_ptr<const model::ModelSource> source_;
  const CalibrationText& text_;
  CalibrationDevice& device_;
  kernels::Backend& backend_;
  CalibratorOptions options_;
  CalibrationTrack original_;
  CalibrationTrack compressed_;
  kernels::Buffer final_norm_;
  int layer_ = -1;          // the one the tracks are in
  int next_stage_ = 0;      // of it: the first whose inputs have not been computed
  std::string activation_;  // whose moments sums_ holds
  std::unique_ptr<Sums> sums_;
  std::unique_ptr<Problem> problem_;
  const uint8_t* problem_signs_ = nullptr;
  double forward_seconds_ = 0;
  double moments_seconds_ = 0;
  double factor_seconds_ = 0;
};

}  // namespace upg::compression
