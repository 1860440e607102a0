#include "compress/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "base/probability.h"
#include "compress/activation_store.h"
#include "model/layer.h"
#include "model/layer_loader.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using model::Role;
using model::TensorSpec;

constexpr int kLogitRows = 32;  // rows of logits held at once, of two models

// All streams on their way through the layers. Stream 0 is the original's.
class Streams {
 public:
  Streams(const model::ModelConfig& config, kernels::Backend& backend, const CalibrationText& text,
          size_t matrices, const SensitivityOptions& options)
      : config_(config),
        backend_(backend),
        text_(text),
        store_(static_cast<int>(matrices + 1) * text.windows, text.tokens * config.hidden,
               options.folder, options.in_memory),
        scratch_(backend, config, text.tokens),
        pages_(static_cast<size_t>(base::ceil_div(text.tokens, kernels::kPageTokens))) {
    x_ = backend.allocate(window_bytes());
    std::iota(pages_.begin(), pages_.end(), 0);
    const size_t cache_bytes = pages_.size() * kernels::kPageTokens *
                               static_cast<size_t>(config.attention.kv_heads) *
                               kernels::kv_row_bytes(kCacheType, config.attention.head_dim);
    cache_k_ = backend.allocate(cache_bytes);
    cache_v_ = backend.allocate(cache_bytes);
  }

  void embed(size_t stream, const kernels::Weight& embedding) {
    for (int window = 0; window < text_.windows; ++window) {
      begin(window);
      backend_.embed(x_.floats(), embedding);
      save(stream, window);
    }
  }

  // `to` becomes what the layer makes of `from`; they may be the same.
  void run(size_t from, size_t to, const kernels::LayerWeights& weights, int layer) {
    kernels::LayerStep step = model::layer_step(config_, layer);
    step.weights = &weights;
    step.cache = {
        .k = cache_k_.bytes(), .v = cache_v_.bytes(), .k_type = kCacheType, .v_type = kCacheType};
    step.x = x_.floats();
    for (int window = 0; window < text_.windows; ++window) {
      begin(window);
      load(from, window);
      model::run_layer(backend_, step, scratch_, text_.tokens);
      save(to, window);
    }
  }

  const float* window(size_t stream, int window) { return store_.window(index(stream, window)); }
  void release(size_t stream, int window) { store_.release(index(stream, window)); }

 private:
  static constexpr kernels::KvType kCacheType = kernels::KvType::kF32;

  size_t window_bytes() const {
    return static_cast<size_t>(text_.tokens * config_.hidden) * sizeof(float);
  }
  int index(size_t stream, int window) const {
    return static_cast<int>(stream) * text_.windows + window;
  }

  void load(size_t stream, int window) {
    backend_.upload(x_.floats(), store_.window(index(stream, window)), x_.size());
    store_.release(index(stream, window));
  }

  void save(size_t stream, int window) {
    backend_.download(store_.window(index(stream, window)), x_.floats(), x_.size());
    store_.release(index(stream, window));
  }

  void begin(int window) {
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

  const model::ModelConfig& config_;
  kernels::Backend& backend_;
  const CalibrationText& text_;
  ActivationStore store_;
  model::LayerScratch scratch_;
  kernels::Buffer x_, cache_k_, cache_v_;
  std::vector<int32_t> pages_;
};

// Final norm and head.
class Head {
 public:
  Head(const model::ModelSource& source, kernels::Backend& backend,
       std::shared_ptr<const kernels::Weight> weight)
      : config_(source.config()),
        backend_(backend),
        norm_(model::WeightLoader(source, backend).vector("model.norm.weight")) {
    linear_.rows = weight->rows();
    linear_.cols = weight->cols();
    linear_.parts.push_back({std::move(weight), {}});
    x_ = floats(config_.hidden);
    logits_ = floats(config_.vocabulary);
  }

  // Of `rows` vectors of the residual stream, [rows, vocabulary], into `out`.
  void logits(const float* stream, int rows, std::vector<float>& out) {
    const auto count = static_cast<size_t>(rows);
    backend_.upload(x_.floats(), stream, count * static_cast<size_t>(config_.hidden) * 4);
    backend_.rms_norm(x_.floats(), x_.floats(), norm_.floats(), config_.norm_epsilon, rows,
                      config_.hidden);
    backend_.matmul(logits_.floats(), linear_, backend_.prepare(x_.floats(), rows, linear_), rows,
                    kernels::Store::kSet);
    out.resize(count * static_cast<size_t>(config_.vocabulary));
    backend_.download(out.data(), logits_.floats(), out.size() * sizeof(float));
  }

 private:
  kernels::Buffer floats(int64_t cols) {
    return backend_.allocate(static_cast<size_t>(kLogitRows * cols) * sizeof(float));
  }

  const model::ModelConfig& config_;
  kernels::Backend& backend_;
  kernels::Buffer norm_;
  kernels::Linear linear_;
  kernels::Buffer x_, logits_;
};

class Measurement {
 public:
  Measurement(const SourceModel& model, const model::ModelSource& source,
              const std::vector<size_t>& matrices, const CalibrationText& text,
              kernels::Backend& backend, const TrialCoder& coder, base::ThreadTeam& team,
              const SensitivityOptions& options)
      : model_(model),
        source_(source),
        matrices_(matrices),
        text_(text),
        backend_(backend),
        coder_(coder),
        team_(team),
        options_(options),
        streams_(source.config(), backend, text, matrices.size(), options) {}

  std::vector<Sensitivity> run() {
    embed();
    const int layers = source_.config().layers;
    find_work(layers);
    for (int layer = 0; layer < layers; ++layer) run_layer(layer);
    return compare();
  }

 private:
  const TensorSpec& spec(size_t stream) const { return model_.specs[matrices_[stream - 1]]; }

  // In weights that a token meets, over all streams. A stream leaves the original's at its layer.
  void find_work(int layers) {
    const auto weights = [&](auto&& wanted) {
      double sum = 0;
      for (const TensorSpec& one : source_.specs()) {
        if (wanted(one)) sum += static_cast<double>(one.rows) * static_cast<double>(one.cols);
      }
      return sum;
    };
    layer_work_ = weights([](const TensorSpec& one) { return one.role == Role::kMatrix; }) / layers;
    const Role head = source_.config().tied_head ? Role::kEmbedding : Role::kHead;
    head_work_ = weights([&](const TensorSpec& one) { return one.role == head; });
    work_ = layers * layer_work_ + static_cast<double>(matrices_.size() + 1) * head_work_;
    for (size_t stream = 1; stream <= matrices_.size(); ++stream) {
      const int first = spec(stream).role == Role::kMatrix ? model::layer_of(spec(stream)) : 0;
      if (spec(stream).role != Role::kHead) work_ += (layers - first) * layer_work_;
    }
  }

  void tell(std::string_view what, double work) {
    if (options_.stage) options_.stage(what, done_ / work_);
    done_ += work;
  }

  void run_stream(size_t from, size_t to, const kernels::LayerWeights& weights, int layer) {
    tell(fmt::format("sensitivity, layer {}", layer), layer_work_);
    streams_.run(from, to, weights, layer);
  }

  void embed() {
    for (const TensorSpec& spec : source_.specs()) {
      if (spec.role != Role::kEmbedding) continue;
      streams_.embed(0, *backend_.load(source_.matrix(spec)));
      source_.release(spec);
    }
    for (size_t stream = 1; stream <= matrices_.size(); ++stream) {
      if (spec(stream).role != Role::kEmbedding) continue;
      streams_.embed(stream, *backend_.load(coder_(matrices_[stream - 1])));
      live_.push_back(stream);
    }
  }

  void run_layer(int layer) {
    kernels::LayerWeights weights = model::load_layer(source_, backend_, layer);
    for (const size_t stream : live_) run_stream(stream, stream, weights, layer);
    for (size_t stream = 1; stream <= matrices_.size(); ++stream) {
      if (spec(stream).role != Role::kMatrix || model::layer_of(spec(stream)) != layer) continue;
      kernels::Linear::Part& part = model::layer_part(weights, spec(stream));
      const std::shared_ptr<const kernels::Weight> original = part.weight;
      part.weight = backend_.load(coder_(matrices_[stream - 1]));
      run_stream(0, stream, weights, layer);
      part.weight = original;
      live_.push_back(stream);
    }
    run_stream(0, 0, weights, layer);
    for (const TensorSpec& one : source_.specs()) {
      if (one.role == Role::kMatrix && model::layer_of(one) == layer) source_.release(one);
    }
  }

  // The coded head, of the stream it belongs to; with a tied head that is the embedding's.
  struct CodedHead {
    size_t stream = 0;  // none
    std::optional<Head> head;
  };

  CodedHead coded_head() {
    CodedHead out;
    const Role role = source_.config().tied_head ? Role::kEmbedding : Role::kHead;
    for (size_t stream = 1; stream <= matrices_.size(); ++stream) {
      if (spec(stream).role != role) continue;
      out.stream = stream;
      out.head.emplace(source_, backend_, backend_.load(coder_(matrices_[stream - 1])));
    }
    return out;
  }

  std::shared_ptr<const kernels::Weight> original_head() {
    const Role role = source_.config().tied_head ? Role::kEmbedding : Role::kHead;
    const auto& specs = source_.specs();
    const auto found = std::find_if(specs.begin(), specs.end(),
                                    [&](const TensorSpec& one) { return one.role == role; });
    UPG_CHECK(found != specs.end());
    return backend_.load(source_.matrix(*found));
  }

  std::vector<Sensitivity> compare() {
    Head original(source_, backend_, original_head());
    CodedHead coded = coded_head();
    std::vector<double> sums(matrices_.size() + 1);
    std::vector<float> p;
    std::vector<float> q;
    const double window_work =
        static_cast<double>(matrices_.size() + 1) * head_work_ / text_.windows;
    for (int window = 0; window < text_.windows; ++window) {
      tell("sensitivity, head", window_work);
      for (int first = 0; first < text_.tokens; first += kLogitRows) {
        const int rows = std::min(kLogitRows, text_.tokens - first);
        original.logits(rows_of(0, window, first), rows, p);
        for (size_t stream = 1; stream <= matrices_.size(); ++stream) {
          // An untied head's stream is the original's up to the head itself.
          const bool is_head = spec(stream).role == Role::kHead;
          Head& head = stream == coded.stream ? *coded.head : original;
          head.logits(rows_of(is_head ? 0 : stream, window, first), rows, q);
          sums[stream] += divergence(p, q, rows);
        }
      }
      for (size_t stream = 0; stream <= matrices_.size(); ++stream) {
        streams_.release(stream, window);
      }
    }
    return results(sums);
  }

  const float* rows_of(size_t stream, int window, int first) {
    return streams_.window(stream, window) + int64_t{first} * source_.config().hidden;
  }

  double divergence(const std::vector<float>& p, const std::vector<float>& q, int rows) const {
    const auto vocabulary = static_cast<size_t>(source_.config().vocabulary);
    std::array<double, kLogitRows> kl = {};
    team_.for_each(rows, [&](int64_t row, int) {
      const size_t first = static_cast<size_t>(row) * vocabulary;
      kl[static_cast<size_t>(row)] = base::kl_divergence(std::span(p).subspan(first, vocabulary),
                                                         std::span(q).subspan(first, vocabulary));
    });
    return std::accumulate(kl.begin(), kl.begin() + rows, 0.0);
  }

  std::vector<Sensitivity> results(const std::vector<double>& sums) const {
    const double tokens = static_cast<double>(text_.windows) * text_.tokens;
    std::vector<Sensitivity> out;
    for (size_t stream = 1; stream <= matrices_.size(); ++stream) {
      const double kl = sums[stream] / tokens;
      if (!std::isfinite(kl)) {
        throw Error(ErrorCode::kInvalidData,
                    fmt::format("{}: the calibration text makes the model's outputs overflow; "
                                "found a divergence of {}, allowed are finite values (VALUE)",
                                spec(stream).name, kl));
      }
      out.push_back({matrices_[stream - 1], std::max(kl, 0.0)});
    }
    return out;
  }

  const SourceModel& model_;
  const model::ModelSource& source_;
  const std::vector<size_t>& matrices_;
  const CalibrationText& text_;
  kernels::Backend& backend_;
  const TrialCoder& coder_;
  base::ThreadTeam& team_;
  const SensitivityOptions& options_;
  Streams streams_;
  std::vector<size_t> live_;  // streams that have left the original's
  double layer_work_ = 0;     // of a stream
  double head_work_ = 0;
  double work_ = 0;
  double done_ = 0;
};

}  // namespace

std::vector<Sensitivity> measure_sensitivities(
    const SourceModel& model, const model::ModelSource& source, const std::vector<size_t>& matrices,
    const CalibrationText& text, kernels::Backend& backend, const TrialCoder& coder,
    base::ThreadTeam& team, const SensitivityOptions& options) {
  return Measurement(model, source, matrices, text, backend, coder, team, options).run();
}

uint64_t sensitivity_stream_bytes(const model::ModelConfig& config, size_t matrices, int windows,
                                  int tokens) {
  return (matrices + 1) * static_cast<uint64_t>(windows) * static_cast<uint64_t>(tokens) *
         static_cast<uint64_t>(config.hidden) * sizeof(float);
}

}  // namespace upg::compression
