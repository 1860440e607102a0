#include "compress/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "base/file.h"
#include "codec/matrix.h"
#include "compress/linear_algebra.h"

namespace upg::compression {
namespace {

using model::Role;
using model::TensorSpec;

// Raised whenever the same matrix and inputs get other codes, so that nobody goes on with a job of
// a version that coded differently.
constexpr int kCodingVersion = 1;

constexpr int kWindowTokens = 1024;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// "model.layers.3." of a matrix of that layer.
std::string layer_of(const TensorSpec& spec) {
  if (spec.role != Role::kMatrix) return {};
  return spec.name.substr(0, spec.name.find('.', std::string_view("model.layers.").size()));
}

}  // namespace

Calibration::Calibration(const Plan& plan, const CompressOptions& options,
                         const std::filesystem::path& folder, base::ThreadTeam& team)
    : team_(team),
      text_name_(calibration_name(options)),
      hidden_(plan.source.config.hidden),
      worth_keeping_(options.keep_streams_seconds) {
  use_one_blas_thread();  // the team is the one that splits work
  const model::ModelConfig& config = plan.source.config;
  const std::string text = calibration_source(options.calibrate);
  text_hash_ = base::hex64(base::xxh3(std::as_bytes(std::span(text))));
  text_ = read_calibration(text, options.calibrate, plan.source.checkpoint, config.vocabulary,
                           options.calibration_windows, window_tokens(config));
  two_bases_ = activations_in_two_bases(plan);
  // A journal written on one device is continued there, to the same bytes.
  device_ = make_calibration_device(options.device, team);
  CalibratorOptions calibrator;
  calibrator.in_memory = plan.activations_in_memory;
  calibrator.folder = folder;
  calibrator.stage = [this](std::string_view) {
    ++passed_;
    if (pass_) pass_(std::min(1.0, passed_ / (2.0 * text_.windows)));
  };
  calibrator.reached = [this](int layer) { reached(layer); };
  calibrator_.emplace(model::ModelSource::open(plan.source.checkpoint.folder()), text_, *device_,
                      std::move(calibrator));
}

bool calibrates(const Plan& plan, const CompressOptions& options) {
  if (options.calibrate == kNoCalibration) return false;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    if (Calibration::codes(plan.source.specs[i], plan.storage[i])) return true;
  }
  return false;
}

bool Calibration::codes(const TensorSpec& spec, const Storage& storage) {
  return storage.is_matrix() && codes_calibrated(*storage.codec) && spec.role != Role::kEmbedding;
}

EncodedMatrix Calibration::encode(const TensorSpec& spec, const SourceMatrix& source,
                                  const Storage& storage, const uint8_t* signs, const Tick& tick,
                                  const std::function<void(double)>& pass) {
  pass_ = pass;
  passed_ = 0;
  const Problem& problem =
      calibrator_->problem_for(spec, signs, two_bases_.contains(activation_of(spec)));
  const double begin = now();
  CodingLoss loss;
  EncodedMatrix encoded =
      encode_calibrated(source, storage, signs, problem, coding_, team_, tick, loss);
  coding_seconds_ += now() - begin;
  encoded.loss = loss.loss;
  encoded.power = loss.power;
  return encoded;
}

void Calibration::coded(const TensorSpec& spec, const SourceMatrix& source, const Storage& storage,
                        const uint8_t* signs, EncodedMatrix encoded) {
  const std::string layer = layer_of(spec);
  kept_.push_back({layer, std::move(encoded)});
  calibrator_->coded(spec, kept_.back().matrix.bind(source, *storage.codec, signs));
  // Once a layer speaks, the layers before it have been run for the last time.
  kept_.remove_if([&](const Kept& kept) { return kept.layer != layer; });
}

void Calibration::reached(int layer) {
  if (!keep || calibrator_->forward_seconds() - kept_at_ < worth_keeping_) return;
  kept_at_ = calibrator_->forward_seconds();
  keep(layer);
}

StreamFile Calibration::complete(StreamFile what) const {
  what.windows = text_.windows;
  what.tokens = text_.tokens;
  what.hidden = hidden_;
  return what;
}

uint64_t Calibration::stream_bytes() const { return complete({}).bytes(); }

void Calibration::write_streams(const StreamFile& what, const std::function<void()>& tick) {
  compression::write_streams(complete(what), calibrator_->original(), calibrator_->compressed(),
                             tick);
}

bool Calibration::read_streams(const StreamFile& what, const std::function<void()>& tick,
                               const std::function<void(std::string_view)>& damaged) {
  try {
    compression::read_streams(complete(what), calibrator_->original(), calibrator_->compressed(),
                              tick);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidData) throw;
    damaged(error.what());
    calibrator_->start_over();
    return false;
  }
  calibrator_->start_at(what.layer);
  kept_at_ = calibrator_->forward_seconds();
  return true;
}

CalibrationFacts Calibration::facts() const {
  return {
      .text = text_name_,
      .text_hash = text_hash_,
      .windows = text_.windows,
      .tokens = text_.tokens,
      .kernels = std::string(device_->backend().name()),
      .blas = device_->algebra(),
      .coding = fmt::format("{}; drift {}, rounds {}, closings {}, damping {}", kCodingVersion,
                            coding_.drift_share, coding_.rounds,
                            coding_.all_closings ? "all" : "nearest", CalibratorOptions().damping)};
}

void Calibration::add_times(CompressTimes& times) const {
  times.forward += calibrator_->forward_seconds();
  times.moments += calibrator_->moments_seconds();
  times.factor += calibrator_->factor_seconds();
  times.coding += coding_seconds_;
}

int window_tokens(const model::ModelConfig& config) noexcept {
  return static_cast<int>(std::min<int64_t>(kWindowTokens, config.max_positions));
}

std::set<std::string> activations_in_two_bases(const Plan& plan) {
  std::map<std::string, bool> rotated;
  std::set<std::string> found;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const TensorSpec& spec = plan.source.specs[i];
    const Storage& storage = plan.storage[i];
    if (!Calibration::codes(spec, storage)) continue;
    const auto [before, fresh] = rotated.try_emplace(activation_of(spec), storage.rotated);
    if (before->second != storage.rotated) found.insert(before->first);
  }
  return found;
}

}  // namespace upg::compression
