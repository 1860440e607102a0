#include "compress/calibrator.h"

#include <fmt/format.h>

#include <chrono>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "model/layer_loader.h"

namespace upg::compression {
namespace {

using model::Role;
using model::TensorSpec;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// "self_attn.input" of "model.layers.3.self_attn.input".
std::string_view stage_of(const TensorSpec& spec) {
  const std::string_view name = spec.activation;
  return name.substr(name.find('.', std::string_view("model.layers.").size()) + 1);
}

// Where a stage's inputs come from.
struct Stage {
  std::string_view activation;
  const float* (CalibrationTrack::*input)(int window);
  bool adds;   // its outputs go onto the residual stream
  bool moves;  // whether the stages after it need it to have been run
};

constexpr Stage kStages[] = {
    {"self_attn.input", &CalibrationTrack::attention_input, false, false},
    {"self_attn.o_proj.input", &CalibrationTrack::attended, true, true},
    {"mlp.input", &CalibrationTrack::mlp_input, false, true},
    {"mlp.down_proj.input", &CalibrationTrack::gated, true, false},
};

constexpr int kStageCount = static_cast<int>(std::size(kStages));

int find_stage(const TensorSpec& spec) {
  int stage = 0;
  while (stage < kStageCount && kStages[stage].activation != stage_of(spec)) ++stage;
  UPG_CHECK(stage < kStageCount);
  return stage;
}

}  // namespace

Calibrator::Calibrator(std::shared_ptr<const model::ModelSource> source,
                       const CalibrationText& text, CalibrationDevice& device,
                       CalibratorOptions options)
    : source_(std::move(source)),
      text_(text),
      device_(device),
      backend_(device.backend()),
      options_(std::move(options)),
      original_(source_->config(), backend_, text, options_.folder, options_.in_memory),
      compressed_(source_->config(), backend_, text, options_.folder, options_.in_memory) {
  for (const TensorSpec& spec : source_->specs()) {
    if (spec.name != "model.norm.weight") continue;
    const std::vector<float> values = source_->vector(spec);
    final_norm_ = backend_.allocate(values.size() * sizeof(float));
    backend_.upload(final_norm_.floats(), values.data(), final_norm_.size());
  }
  start_over();
}

Calibrator::~Calibrator() = default;

void Calibrator::advance(int layer, int stage) {
  while (layer_ < layer) {
    if (layer_ >= 0) {
      while (next_stage_ < kStageCount) run_stage(next_stage_++);
      leave_layer();
    }
    enter_layer(layer_ + 1);
  }
  while (next_stage_ < stage) run_stage(next_stage_++);
}

void Calibrator::start_at(int layer) { enter_layer(layer); }

void Calibrator::start_over() {
  layer_ = -1;
  for (const TensorSpec& spec : source_->specs()) {
    if (spec.role != Role::kEmbedding) continue;
    original_.embed(*backend_.load(source_->matrix(spec)));
    source_->release(spec);
  }
}

void Calibrator::enter_layer(int layer) {
  layer_ = layer;
  next_stage_ = 0;
  if (layer_ >= source_->config().layers) return;  // behind the last one: the head
  for (CalibrationTrack* track : {&original_, &compressed_}) {
    track->layer = model::load_layer(*source_, backend_, layer_);
    track->window_size = source_->config().windows[static_cast<size_t>(layer_)];
  }
}

void Calibrator::leave_layer() {
  const double begin = now();
  for (int window = 0; window < text_.windows; ++window) {
    original_.finish(window);
    compressed_.finish(window);
    if (options_.stage) options_.stage(fmt::format("layer {}", layer_));
  }
  for (const TensorSpec& spec : source_->specs()) {
    if (spec.role == Role::kMatrix && model::layer_of(spec) == layer_) source_->release(spec);
  }
  if (options_.reached) options_.reached(layer_ + 1);
  forward_seconds_ += now() - begin;
}

// A stage whose matrices are not calibrated: the tracks go through it all the same.
void Calibrator::run_stage(int stage) {
  if (!kStages[stage].moves) return;
  const double begin = now();
  for (int window = 0; window < text_.windows; ++window) {
    (original_.*kStages[stage].input)(window);
    (compressed_.*kStages[stage].input)(window);
    if (options_.stage) options_.stage(kStages[stage].activation);
  }
  forward_seconds_ += now() - begin;
}

void Calibrator::measure(int64_t cols, bool adds, std::string_view what,
                         const std::function<const float*(CalibrationTrack&, int)>& input) {
  sums_ = device_.sums(cols, adds ? source_->config().hidden : 0);
  for (int window = 0; window < text_.windows; ++window) {
    const double begin = now();
    const float* compressed = input(compressed_, window);
    const float* original = input(original_, window);
    backend_.synchronise();
    const double ready = now();
    sums_->add(compressed, original, text_.tokens);
    if (adds) {
      sums_->add_residual(compressed_.stream_there(), original_.stream_there(), compressed,
                          text_.tokens);
      compressed_.release(window);
      original_.release(window);
    }
    forward_seconds_ += ready - begin;
    moments_seconds_ += now() - ready;
    if (options_.stage) options_.stage(what);
  }
}

const Problem& Calibrator::problem_for(const TensorSpec& spec, const uint8_t* signs,
                                       bool keep_sums) {
  const bool is_head = spec.role == Role::kHead;
  const std::string activation = is_head ? spec.name : spec.activation;
  if (activation != activation_) {
    problem_.reset();
    if (is_head) {
      advance(source_->config().layers, 0);
      measure(spec.cols, false, activation, [&](CalibrationTrack& track, int window) {
        return track.final_input(window, final_norm_.floats());
      });
    } else {
      const int stage = find_stage(spec);
      advance(model::layer_of(spec), stage);
      next_stage_ = stage + 1;
      measure(spec.cols, kStages[stage].adds, activation, [&](CalibrationTrack& track, int window) {
        return (track.*kStages[stage].input)(window);
      });
    }
    activation_ = activation;
  }
  if (!problem_ || problem_signs_ != signs) {
    const double begin = now();
    problem_.reset();
    UPG_CHECK(sums_ != nullptr);
    problem_ = sums_->problem(signs, options_.damping, spec.name, keep_sums);
    if (!keep_sums) sums_.reset();
    problem_signs_ = signs;
    factor_seconds_ += now() - begin;
  }
  return *problem_;
}

void Calibrator::coded(const TensorSpec& spec, const codec::Matrix& matrix) {
  if (spec.role == Role::kEmbedding) {
    if (layer_ < 0) compressed_.embed(*backend_.load(matrix));
    return;
  }
  if (spec.role != Role::kMatrix || model::layer_of(spec) < layer_) return;
  // A matrix that was not calibrated may be the first to speak of its layer.
  advance(model::layer_of(spec), find_stage(spec));
  model::layer_part(compressed_.layer, spec).weight = backend_.load(matrix);
}

}  // namespace upg::compression
