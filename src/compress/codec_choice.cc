#include "compress/codec_choice.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/threads.h"
#include "codec/rotation.h"
#include "compress/calibrated_encode.h"
#include "compress/calibration_device.h"
#include "compress/calibration_text.h"
#include "compress/encode.h"
#include "compress/needs.h"
#include "compress/sensitivity.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using model::Role;
using model::TensorSpec;

// What a matrix may be stored as, the trial first: sensitivities are measured with it, and scaled
// to the others by the squared error they make of some of the matrix's rows.
constexpr std::array<std::string_view, 3> kLayerCodecs = {"path3", "path2", "path4"};
constexpr std::array<std::string_view, 4> kFileCodecs = {"path3", "path2", "path4", "int8"};
constexpr int64_t kSampleRows = 256;

// Windows the sensitivities are measured on.
constexpr int kWindows = 8;
constexpr int kWindowTokens = 256;

double elements_of(const TensorSpec& spec) {
  return static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
}

SourceMatrix source_matrix(const SourceModel& model, size_t index) {
  return {.where = model.where(index),
          .view = &model.entries[index]->view,
          .rows = model.specs[index].rows,
          .cols = model.specs[index].cols,
          .release = {}};
}

// Keeps one coded matrix and its signs alive.
class Trial {
 public:
  Trial(const Plan& plan, base::ThreadTeam& team) : plan_(plan), team_(team) {}

  codec::Matrix code(size_t index, const Storage& storage) {
    const SourceMatrix source = source_matrix(plan_.source, index);
    encoded_.emplace(encode_matrix(source, storage, signs_for(index, storage), team_, {}));
    plan_.source.checkpoint.release(*plan_.source.entries[index]);
    return encoded_->bind(source, *storage.codec, storage.rotated ? signs_.data() : nullptr);
  }

  // Squared error relative to the weights' squares, of rows from the matrix's middle.
  double error(size_t index, const Storage& storage) {
    SourceMatrix source = source_matrix(plan_.source, index);
    const int64_t rows = std::min(source.rows, kSampleRows);
    const int64_t first = (source.rows - rows) / 2;
    base::TensorView part = *source.view;
    const auto row_bytes = static_cast<size_t>(source.cols) * base::size_of(part.dtype);
    part.shape = {rows, source.cols};
    part.bytes = part.bytes.subspan(static_cast<size_t>(first) * row_bytes,
                                    static_cast<size_t>(rows) * row_bytes);
    source.view = &part;
    source.rows = rows;
    const double relative =
        encode_matrix(source, storage, signs_for(index, storage), team_, {}).sums.relative();
    return relative * relative;
  }

 private:
  const uint8_t* signs_for(size_t index, const Storage& storage) {
    if (!storage.rotated) return nullptr;
    const TensorSpec& spec = plan_.source.specs[index];
    signs_ = codec::make_signs(activation_of(spec), spec.cols);
    return signs_.data();
  }

  const Plan& plan_;
  base::ThreadTeam& team_;
  std::optional<EncodedMatrix> encoded_;
  std::vector<uint8_t> signs_;
};

}  // namespace

double token_layers_to_measure(const Plan& plan, const CompressOptions& options) {
  double streams = 1;  // the original's
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    if (is_open(plan, i, options)) streams += 0.5;  // one from its layer on
  }
  return streams * plan.source.config.layers * kWindows *
         static_cast<double>(std::min<int64_t>(kWindowTokens, plan.source.config.max_positions));
}

uint64_t choice_stream_bytes(const Plan& plan, const CompressOptions& options) {
  size_t open = 0;
  for (size_t i = 0; i < plan.storage.size(); ++i) open += is_open(plan, i, options) ? 1 : 0;
  const model::ModelConfig& config = plan.source.config;
  return sensitivity_stream_bytes(
      config, open, kWindows,
      static_cast<int>(std::min<int64_t>(kWindowTokens, config.max_positions)));
}

bool is_open(const Plan& plan, size_t index, const CompressOptions& options) {
  const Storage& storage = plan.storage[index];
  return storage.is_matrix() && !storage.options.stored_weights &&
         !is_overridden(plan.source.specs[index], options);
}

CodecChoice::CodecChoice(Plan& plan, const CompressOptions& options, Scope scope)
    : plan_(plan), options_(options), scope_(scope) {
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    if (!is_open(plan, i, options)) continue;
    if (scope == Scope::kFile || plan.source.specs[i].role == Role::kMatrix) open_.push_back(i);
  }
}

std::span<const std::string_view> CodecChoice::candidates() const {
  if (scope_ == Scope::kFile) return kFileCodecs;
  return kLayerCodecs;
}

Storage CodecChoice::storage_as(size_t index, std::string_view codec) const {
  Storage storage = plan_.storage[index];
  set_codec(storage, codec, plan_.source.specs[index], plan_.source.entries[index]->view.dtype);
  return storage;
}

size_t CodecChoice::candidate(std::string_view codec) const {
  const auto names = candidates();
  return static_cast<size_t>(std::find(names.begin(), names.end(), codec) - names.begin());
}

double CodecChoice::size_of(size_t index, const Storage& storage) const {
  const TensorSpec& spec = plan_.source.specs[index];
  return static_cast<double>(bytes_of(storage.parts(spec.rows, spec.cols)));
}

double CodecChoice::share_of(size_t index) const {
  return elements_of(plan_.source.specs[index]) / static_cast<double>(plan_.summary.parameters);
}

void CodecChoice::measure(const std::filesystem::path& folder, const ProgressCallback& progress) {
  std::vector<double> losses;
  is_measured_ = options_.calibrate != kNoCalibration;
  if (is_measured_) losses = measured(folder, progress);
  base::ThreadTeam team(plan_.threads);
  Trial trial(plan_, team);
  items_.clear();
  for (size_t k = 0; k < open_.size(); ++k) {
    const size_t index = open_[k];
    // Without a text every weight's relative error matters alike.
    const double loss = is_measured_ ? losses[k] : share_of(index);
    BitItem item;
    double first = 0;
    for (const std::string_view codec : candidates()) {
      const Storage storage = storage_as(index, codec);
      const double error = trial.error(index, storage);
      if (item.empty()) first = error;
      // A matrix that the trial keeps exactly (all zeros) loses nothing in any coding.
      item.push_back({size_of(index, storage), first > 0 ? loss * error / first : 0});
    }
    items_.push_back(std::move(item));
  }
}

void CodecChoice::guess() {
  is_measured_ = false;
  items_.clear();
  for (const size_t index : open_) {
    BitItem item;
    for (const std::string_view codec : candidates()) {
      const Storage storage = storage_as(index, codec);
      const int bits = path_bits(*storage.codec) > 0 ? path_bits(*storage.codec) : 8;
      item.push_back({size_of(index, storage), share_of(index) * std::pow(4.0, -bits)});
    }
    items_.push_back(std::move(item));
  }
}

std::vector<double> CodecChoice::measured(const std::filesystem::path& folder,
                                          const ProgressCallback& progress) {
  const model::ModelConfig& config = plan_.source.config;
  const int tokens = static_cast<int>(std::min<int64_t>(kWindowTokens, config.max_positions));
  const CalibrationText text =
      read_calibration(calibration_source(options_.calibrate), options_.calibrate,
                       plan_.source.checkpoint, config.vocabulary, kWindows, tokens);
  base::ThreadTeam team(plan_.threads);
  const auto device = make_calibration_device(options_.device, team);
  const auto source = model::ModelSource::open(plan_.source.checkpoint.folder());
  SensitivityOptions options;
  options.in_memory = sensitivity_stream_bytes(config, open_.size(), text.windows, tokens) <=
                      streams_in_memory(options_);
  options.folder = folder;
  options.stage = reporter(progress);
  Trial trial(plan_, team);
  const TrialCoder coder = [&](size_t index) {
    return trial.code(index, storage_as(index, candidates()[0]));
  };
  std::vector<double> losses;
  for (const Sensitivity& one : measure_sensitivities(plan_.source, *source, open_, text,
                                                      device->backend(), coder, team, options)) {
    losses.push_back(one.kl);
  }
  return losses;
}

std::function<void(std::string_view, double)> CodecChoice::reporter(
    const ProgressCallback& progress) const {
  if (!progress) return {};
  const auto begin = std::chrono::steady_clock::now();
  return [this, &progress, begin](std::string_view what, double share) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    Progress report;
    report.tensor = what;
    report.tensors_total = static_cast<int64_t>(plan_.storage.size());
    report.elements_total = plan_.summary.parameters;
    report.seconds_left = share > 0 ? took.count() / share * (1 - share) : 0;
    if (!progress(report)) throw Error(ErrorCode::kCancelled, "interrupted");
  };
}

void CodecChoice::apply(std::span<const size_t> chosen) {
  plan_.chosen = open_;
  plan_.kl.assign(plan_.storage.size(), 0);
  for (size_t k = 0; k < open_.size(); ++k) {
    plan_.storage[open_[k]] = storage_as(open_[k], candidates()[chosen[k]]);
    if (is_measured_) plan_.kl[open_[k]] = items_[k][chosen[k]].loss;
  }
  summarise(plan_, options_);
}

void CodecChoice::use(std::string_view codec) {
  apply(std::vector<size_t>(open_.size(), candidate(codec)));
}

// The options of the k-th open matrix, with sizes in bits as at 5,120 columns.
BitItem CodecChoice::at_5120(size_t k) const {
  const TensorSpec& spec = plan_.source.specs[open_[k]];
  BitItem item = items_[k];
  for (size_t c = 0; c < item.size(); ++c) {
    const auto bytes = static_cast<uint64_t>(item[c].size);
    item[c].size =
        bits_at_5120(storage_as(open_[k], candidates()[c]), spec.rows, spec.cols, bytes) *
        elements_of(spec);
  }
  return item;
}

bool CodecChoice::spend_on_layers(double bits) {
  double weights = 0;
  std::vector<BitItem> items;
  for (size_t k = 0; k < open_.size(); ++k) {
    const TensorSpec& spec = plan_.source.specs[open_[k]];
    const bool is_layer = spec.role == Role::kMatrix;
    items.push_back(is_layer ? at_5120(k) : BitItem{BitOption{}});
    if (is_layer) weights += elements_of(spec);
  }
  auto chosen = choose_bits(items, bits * weights);
  if (!chosen) return false;
  for (size_t k = 0; k < open_.size(); ++k) {
    if (plan_.source.specs[open_[k]].role != Role::kMatrix) (*chosen)[k] = candidate("path4");
  }
  apply(*chosen);
  return true;
}

double CodecChoice::fixed_bytes() const {
  auto bytes = static_cast<double>(plan_.summary.output_bytes);
  for (const size_t index : open_) bytes -= static_cast<double>(plan_.summary.tensors[index].bytes);
  return bytes;
}

double CodecChoice::least_file_bytes() const { return fixed_bytes() + least_size(items_); }

bool CodecChoice::spend_on_file(uint64_t bytes) {
  const auto target = static_cast<double>(bytes);
  double budget = target - fixed_bytes();
  // The header's size depends a little on the choice.
  for (int round = 0; round < 8; ++round) {
    const auto chosen = choose_bits(items_, budget);
    if (!chosen) return false;
    apply(*chosen);
    const double over = static_cast<double>(plan_.summary.output_bytes) - target;
    if (over <= 0) return true;
    budget -= over;
  }
  return false;
}

}  // namespace upg::compression
