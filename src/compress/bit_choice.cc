#include "compress/bit_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>
#include <string_view>
#include <system_error>

#include "base/check.h"
#include "base/text.h"
#include "codec/rotation.h"
#include "compress/bit_plan.h"
#include "compress/calibration_text.h"
#include "compress/encode.h"
#include "compress/plan_file.h"
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
constexpr uint64_t kMaxInMemory = uint64_t{1} << 30;  // of streams; more goes to a file

double elements_of(const TensorSpec& spec) {
  return static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
}

uint64_t target_bytes(const Plan& plan, const CompressOptions& options) {
  const auto parameters = static_cast<double>(plan.summary.parameters);
  return static_cast<uint64_t>(options.ratio > 0 ? 4 * parameters / options.ratio
                                                 : parameters * options.bits / 8);
}

bool for_the_file(const CompressOptions& options) { return options.ratio > 0 || options.bits > 0; }

std::string target_text(const CompressOptions& options) {
  if (options.ratio > 0) return fmt::format("--ratio {}", options.ratio);
  if (options.bits > 0) return fmt::format("--bits {}", options.bits);
  return fmt::format("layers at most {} bits", kLayerBits);
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

// The matrices whose codec is open, with what each choice would cost.
class Choice {
 public:
  Choice(Plan& plan, const CompressOptions& options) : plan_(plan), options_(options) {
    for (size_t i = 0; i < plan.storage.size(); ++i) {
      const TensorSpec& spec = plan.source.specs[i];
      if (!plan.storage[i].is_matrix() || is_overridden(spec, options)) continue;
      if (for_the_file(options) || spec.role == Role::kMatrix) open_.push_back(i);
    }
  }

  const std::vector<size_t>& open() const noexcept { return open_; }

  void measure(const std::filesystem::path& folder, const ProgressCallback& progress) {
    base::ThreadTeam team(plan_.threads);
    Trial trial(plan_, team);
    const std::vector<double> kl =
        is_measured() ? measured(trial, folder, progress) : shares_of_weights();
    for (size_t k = 0; k < open_.size(); ++k) {
      const size_t index = open_[k];
      std::vector<double> errors;
      for (const std::string_view name : candidates()) {
        errors.push_back(trial.error(index, storage_as(index, name)));
      }
      BitItem item;
      for (size_t c = 0; c < errors.size(); ++c) {
        // A matrix that the trial keeps exactly (all zeros) loses nothing in any coding.
        const double loss = errors[0] > 0 ? kl[k] * errors[c] / errors[0] : 0;
        item.push_back({size_of(index, storage_as(index, candidates()[c])), loss});
      }
      items_.push_back(std::move(item));
    }
  }

  void spend() { for_the_file(options_) ? spend_on_file() : spend_on_layers(); }

  void apply(std::span<const size_t> chosen) {
    plan_.chosen = open_;
    plan_.kl.assign(plan_.storage.size(), 0);
    for (size_t k = 0; k < open_.size(); ++k) {
      plan_.storage[open_[k]] = storage_as(open_[k], candidates()[chosen[k]]);
      if (is_measured()) plan_.kl[open_[k]] = items_[k][chosen[k]].loss;
    }
    summarise(plan_, options_);
  }

 private:
  bool is_measured() const { return options_.calibrate != kNoCalibration; }

  std::span<const std::string_view> candidates() const {
    if (for_the_file(options_)) return kFileCodecs;
    return kLayerCodecs;
  }

  Storage storage_as(size_t index, std::string_view codec) const {
    Storage storage = plan_.storage[index];
    set_codec(storage, codec, plan_.source.specs[index], plan_.source.entries[index]->view.dtype);
    return storage;
  }

  // In bits a layer at width 5,120, or bytes of the file.
  double size_of(size_t index, const Storage& storage) const {
    const TensorSpec& spec = plan_.source.specs[index];
    const uint64_t bytes = bytes_of(storage.parts(spec.rows, spec.cols));
    if (for_the_file(options_)) return static_cast<double>(bytes);
    return bits_at_5120(storage, spec.rows, spec.cols, bytes) * elements_of(spec);
  }

  // Without a text: every weight's relative error matters alike.
  std::vector<double> shares_of_weights() const {
    std::vector<double> shares;
    for (const size_t index : open_) {
      shares.push_back(elements_of(plan_.source.specs[index]) /
                       static_cast<double>(plan_.summary.parameters));
    }
    return shares;
  }

  std::vector<double> measured(Trial& trial, const std::filesystem::path& folder,
                               const ProgressCallback& progress) {
    const model::ModelConfig& config = plan_.source.config;
    const int tokens = static_cast<int>(std::min<int64_t>(kWindowTokens, config.max_positions));
    const CalibrationText text =
        read_calibration(calibration_source(options_.calibrate), options_.calibrate,
                         plan_.source.checkpoint, config.vocabulary, kWindows, tokens);
    kernels::BackendOptions backend_options;
    backend_options.threads = plan_.threads;
    const std::unique_ptr<kernels::Backend> backend = kernels::create_backend(backend_options);
    const auto source = model::ModelSource::open(plan_.source.checkpoint.folder());
    SensitivityOptions options;
    options.in_memory =
        sensitivity_stream_bytes(config, open_.size(), text.windows, tokens) <= kMaxInMemory;
    options.folder = folder;
    options.stage = reporter(progress);
    const TrialCoder coder = [&](size_t index) {
      return trial.code(index, storage_as(index, candidates()[0]));
    };
    std::vector<double> kl;
    for (const Sensitivity& one :
         measure_sensitivities(plan_.source, *source, open_, text, *backend, coder, options)) {
      kl.push_back(one.kl);
    }
    return kl;
  }

  std::function<void(std::string_view, double)> reporter(const ProgressCallback& progress) const {
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

  void spend_on_layers() {
    double weights = 0;
    for (const size_t index : open_) weights += elements_of(plan_.source.specs[index]);
    const auto chosen = choose_bits(items_, kLayerBits * weights);
    UPG_CHECK(chosen.has_value());  // path2 is always below
    apply(*chosen);
  }

  void spend_on_file() {
    const auto target = static_cast<double>(target_bytes(plan_, options_));
    double free = 0;
    for (const size_t index : open_)
      free += static_cast<double>(plan_.summary.tensors[index].bytes);
    const double fixed = static_cast<double>(plan_.summary.output_bytes) - free;
    // The header's size depends a little on the choice.
    double budget = target - fixed;
    for (int round = 0; round < 8; ++round) {
      const auto chosen = choose_bits(items_, budget);
      if (!chosen) break;
      apply(*chosen);
      const double over = static_cast<double>(plan_.summary.output_bytes) - target;
      if (over <= 0) return;
      budget -= over;
    }
    refuse(fixed + least_size(items_));
  }

  [[noreturn]] void refuse(double least_bytes) const {
    const double bits = 8 * least_bytes / static_cast<double>(plan_.summary.parameters);
    throw Error(ErrorCode::kUsage,
                fmt::format("{} cannot be met: embedding, head, scales, tokenizer and header "
                            "included, the nearest is --ratio {:.2f} (--bits {:.3f})",
                            target_text(options_), std::floor(3200 / bits) / 100,
                            std::ceil(bits * 1000) / 1000));
  }

  Plan& plan_;
  const CompressOptions& options_;
  std::vector<size_t> open_;
  std::vector<BitItem> items_;  // one each
};

void apply_plan_file(Plan& plan, const CompressOptions& options) {
  const std::vector<PlannedCodec> planned = read_plan(options.plan_file, plan.source);
  plan.kl.assign(plan.storage.size(), 0);
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const TensorSpec& spec = plan.source.specs[i];
    if (!plan.storage[i].is_matrix() || is_overridden(spec, options)) continue;
    set_codec(plan.storage[i], planned[i].codec, spec, plan.source.entries[i]->view.dtype);
    plan.chosen.push_back(i);
    plan.kl[i] = planned[i].kl;
  }
  summarise(plan, options);
  if (!for_the_file(options) || plan.summary.output_bytes <= target_bytes(plan, options)) return;
  throw Error(ErrorCode::kUsage,
              fmt::format("{}: its plan comes to {:.3f}:1, {} asks for less; leave one of them out",
                          base::printable(options.plan_file.native()), plan.summary.ratio_f32,
                          target_text(options)));
}

}  // namespace

bool chooses_codecs(const Plan& plan, const CompressOptions& options) {
  const auto refuse = [](const std::string& what) { throw Error(ErrorCode::kUsage, what); };
  if (options.ratio > 0 && options.bits > 0) refuse("--ratio and --bits: allowed is one of them");
  for (const double value : {options.ratio, options.bits}) {
    if (!(value >= 0 && value <= 32)) {
      refuse(fmt::format("{}: found {}, allowed is more than 0 and at most 32",
                         options.ratio != 0 ? "--ratio" : "--bits", value));
    }
  }
  const bool asked = for_the_file(options) || !options.plan_file.empty();
  if (asked && !plan.profile.spends_bits) {
    refuse(fmt::format("--ratio, --bits and --plan: found profile {}, allowed is 10x",
                       plan.profile.name));
  }
  return asked || (plan.profile.spends_bits && options.calibrate != kNoCalibration);
}

void choose_codecs(Plan& plan, const CompressOptions& options, const std::filesystem::path& folder,
                   const ProgressCallback& progress) {
  std::error_code ignored;
  if (!options.plan_file.empty() && std::filesystem::exists(options.plan_file, ignored)) {
    return apply_plan_file(plan, options);
  }
  Choice choice(plan, options);
  if (!choice.open().empty()) {
    choice.measure(folder, progress);
    choice.spend();
  }
  if (!options.plan_file.empty()) write_plan(options.plan_file, plan, target_text(options));
}

}  // namespace upg::compression
