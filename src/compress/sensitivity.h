// What coding a matrix costs the model's output: measured on a few windows of the calibration text,
// one matrix at a time.
//
// For every matrix a stream of activations leaves the original model's where that matrix is coded
// and all others are not; after the last layer its predictions are compared with the original's.
// Layers are gone through once for all streams together, so that one layer's weights are in memory
// at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "compress/calibration_text.h"
#include "compress/source_model.h"
#include "kernels/backend.h"
#include "model/source.h"

namespace upg::compression {

struct Sensitivity {
  size_t spec = 0;  // index of the matrix in SourceModel::specs
  double kl =
      0;  // nats a token: of the original's predictions against those with this matrix coded
};

// A coding of one matrix that is tried out: rotated path codes without feedback, or what else the
// caller wants to know of. Gives the matrix; what it views must live until the next call.
using TrialCoder = std::function<codec::Matrix(size_t spec)>;

struct SensitivityOptions {
  bool in_memory = true;  // streams; else in a file in `folder`
  std::filesystem::path folder;
  // Told before each stream's layer what is being run, and how far it is (0 ... 1); may throw to
  // stop.
  std::function<void(std::string_view what, double share)> stage;
};

// `matrices`: indices of specs, in checkpoint order. The result has one entry each, in that order.
// Throws what reading the source and the coder throw, and Error(kInvalidData) when the original
// model's own outputs are not finite. Layers and logits are computed by `backend`, predictions
// compared by `team`. The same for any number of threads.
std::vector<Sensitivity> measure_sensitivities(
    const SourceModel& model, const model::ModelSource& source, const std::vector<size_t>& matrices,
    const CalibrationText& text, kernels::Backend& backend, const TrialCoder& coder,
    base::ThreadTeam& team, const SensitivityOptions& options);

// Bytes of the streams of so many matrices.
uint64_t sensitivity_stream_bytes(const model::ModelConfig& config, size_t matrices, int windows,
                                  int tokens);

}  // namespace upg::compression
