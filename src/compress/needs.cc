#include "compress/needs.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/text.h"
#include "codec/matrix.h"
#include "compress/bit_choice.h"
#include "compress/calibration.h"
#include "compress/codec_choice.h"
#include "compress/encode.h"
#include "compress/journal.h"
#include "compress/row_reader.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using model::Role;
using model::TensorSpec;

constexpr uint64_t kMiB = uint64_t{1} << 20;
// What a process of ours holds before it has read a weight: code, allocator, headers.
constexpr uint64_t kProcessBytes = 64 * kMiB;
constexpr uint64_t kBlasBytes = 32 * kMiB;         // a thread: where OpenBLAS packs its operands
constexpr uint64_t kMaxActivations = 2048 * kMiB;  // in memory, where no limit was set
constexpr uint64_t kMaxStreams = 1024 * kMiB;      // the same
constexpr int64_t kMaxDoubleFactor = 8192;         // columns (linear_algebra.h)
constexpr uint64_t kChunkArrays = 16;              // that a coder keeps of its rows, at most
constexpr int64_t kChunkElements = int64_t{1} << 19;
constexpr int64_t kChunkRows = 64;
constexpr int kLogitRows = 32;

uint64_t elements_of(const TensorSpec& spec) {
  return static_cast<uint64_t>(spec.rows) * static_cast<uint64_t>(spec.cols);
}

uint64_t floats(int64_t rows, int64_t cols) {
  return sizeof(float) * static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols);
}

uint64_t text_bytes(const SourceModel& source) {
  uint64_t bytes = 0;
  for (const std::string_view name : kTextTensors) bytes += source.checkpoint.text(name).size();
  return bytes;
}

// What the parts of one matrix ask for.
struct PartNeeds {
  uint64_t memory = 0;  // while it is encoded: byte-sized parts twice (their aligned copy)
  uint64_t kept = 0;    // until the end of the file
  uint64_t parked = 0;  // on disk until the end of the file
};

PartNeeds needs_of(const std::vector<codec::PartSpec>& parts, bool version2) {
  PartNeeds needs;
  for (const codec::PartSpec& part : parts) {
    const uint64_t bytes = bytes_of({&part, 1});
    needs.memory += base::size_of(part.dtype) == 1 ? 2 * bytes : bytes;
    if (!is_large(part, version2)) {
      needs.kept += bytes;
    } else if (!version2 && bytes % 64 != 0) {
      needs.parked += bytes;
    }
  }
  return needs;
}

// Of coding without a text: the largest matrix as it is encoded, a few chunks of rows a thread, the
// training sample with room for what the encoder derives from it, and all that is kept for the end
// of the file.
struct PlainNeeds {
  uint64_t largest = 0;
  uint64_t chunk = 0;
  uint64_t kept = 0;
  uint64_t parked = 0;
  uint64_t memory(int threads) const {
    return kProcessBytes + largest + kept + chunk * (4 * static_cast<uint64_t>(threads) + 4);
  }
};

PlainNeeds plain_needs(const Plan& plan) {
  PlainNeeds all;
  all.kept = text_bytes(plan.source) * 3;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const TensorSpec& spec = plan.source.specs[i];
    if (!plan.storage[i].is_matrix()) {
      all.kept += elements_of(spec) * sizeof(float);
      continue;
    }
    const PartNeeds needs = needs_of(plan.storage[i].parts(spec.rows, spec.cols), plan.version2());
    all.largest = std::max(all.largest, needs.memory);
    all.kept += needs.kept;
    all.parked += needs.parked;
    const int64_t cols = codec::padded_cols(spec.cols);
    all.chunk = std::max({all.chunk, floats(chunk_rows(spec.cols), cols),
                          floats(sample_rows(spec.rows, spec.cols), cols)});
  }
  return all;
}

// The most that one layer's matrices come to.
struct LayerBytes {
  uint64_t source = 0;
  uint64_t coded = 0;
};

LayerBytes largest_layer(const Plan& plan) {
  std::map<std::string, LayerBytes> layers;
  LayerBytes most;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const TensorSpec& spec = plan.source.specs[i];
    if (spec.role != Role::kMatrix) continue;
    LayerBytes& layer = layers[spec.name.substr(0, spec.name.find('.', 13))];  // "model.layers.3"
    layer.source += plan.source.entries[i]->view.bytes.size();
    layer.coded += plan.summary.tensors[i].bytes;
    most.source = std::max(most.source, layer.source);
    most.coded = std::max(most.coded, layer.coded);
  }
  return most;
}

uint64_t bytes_of_role(const Plan& plan, Role role, bool coded) {
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    if (plan.source.specs[i].role != role) continue;
    return coded ? plan.summary.tensors[i].bytes : plan.source.entries[i]->view.bytes.size();
  }
  return 0;
}

// The second moments of one matrix's inputs and the problem made of them, or what its coder needs
// beside the problem.
uint64_t problem_bytes(const Plan& plan, const TensorSpec& spec, int tokens, bool keeps_sums) {
  const int64_t hidden = plan.source.config.hidden;
  const int64_t cols = codec::padded_cols(spec.cols);
  const bool adds = spec.role == Role::kMatrix && spec.rows == hidden;
  const uint64_t square = floats(cols, cols);
  const uint64_t residual = adds ? floats(hidden, cols) : 0;
  const uint64_t sums = 2 * square + residual;  // gram and drift
  const uint64_t measured = sums + floats(tokens, std::max(spec.cols, adds ? hidden : 0)) +
                            (spec.cols < cols ? square : 0);
  // The factorisation's copy in double.
  const uint64_t factorised = sums + square + (cols <= kMaxDoubleFactor ? 2 * square : 0);
  const uint64_t coded = sums + square +
                         static_cast<uint64_t>(plan.threads) * kChunkArrays * sizeof(float) *
                             static_cast<uint64_t>(std::max(kChunkElements, kChunkRows * cols));
  return std::max({measured, factorised, coded}) + (keeps_sums ? sums : 0);
}

// Both tracks' own buffers (calibration_track.h) and what the backend prepares of its inputs.
uint64_t track_bytes(const model::ModelConfig& config, int tokens) {
  const int64_t qkv = config.attention.qkv_width();
  const int64_t q = config.attention.q_width();
  const int64_t widest = std::max({config.hidden, config.intermediate, q});
  const uint64_t buffers =
      floats(tokens, 2 * config.hidden + 2 * qkv + q + 3 * config.intermediate + widest);
  return 2 * buffers + 2 * floats(tokens, codec::padded_cols(widest));
}

// Beyond what coding without a text needs, and without the activations that may go to a file.
uint64_t calibration_bytes(const Plan& plan) {
  const int tokens = window_tokens(plan.source.config);
  const std::set<std::string> two_bases = activations_in_two_bases(plan);
  uint64_t problem = 0;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const TensorSpec& spec = plan.source.specs[i];
    if (!Calibration::codes(spec, plan.storage[i])) continue;
    const bool keeps = two_bases.contains(activation_of(spec));
    problem = std::max(problem, problem_bytes(plan, spec, tokens, keeps));
  }
  const LayerBytes layer = largest_layer(plan);
  // The text runs through the embedding before there is a layer or a problem.
  const uint64_t embedding = bytes_of_role(plan, Role::kEmbedding, false);
  const uint64_t kept = std::max(layer.coded, bytes_of_role(plan, Role::kEmbedding, true));
  return std::max(problem + layer.source, embedding) + kept +
         track_bytes(plan.source.config, tokens) +
         2 * activation_bytes(plan.source.config, 1, tokens) +
         kBlasBytes * static_cast<uint64_t>(plan.threads);
}

// Of choosing codecs: a layer, streams, a trial, and at the end the head in both ways.
uint64_t choice_bytes(const Plan& plan, const CompressOptions& options) {
  const model::ModelConfig& config = plan.source.config;
  const Role role = config.tied_head ? Role::kEmbedding : Role::kHead;
  const uint64_t head = bytes_of_role(plan, role, false) + bytes_of_role(plan, role, true);
  const uint64_t streams = std::min(choice_stream_bytes(plan, options), streams_in_memory(options));
  return std::max(largest_layer(plan).source, head) + streams +
         3 * floats(kLogitRows, config.vocabulary) + track_bytes(config, window_tokens(config));
}

uint64_t journal_bytes(const Plan& plan) {
  uint64_t bytes = 0;
  uint64_t matrices = 0;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    if (!Calibration::codes(plan.source.specs[i], plan.storage[i])) continue;
    bytes += plan.summary.tensors[i].bytes;
    ++matrices;
  }
  return bytes + Journal::overhead(matrices);
}

}  // namespace

uint64_t activation_bytes(const model::ModelConfig& config, int windows, int tokens) noexcept {
  return 2 * floats(int64_t{windows} * tokens, config.hidden + config.attention.q_width());
}

uint64_t streams_in_memory(const CompressOptions& options) noexcept {
  return options.max_ram == 0 ? kMaxStreams : std::min(kMaxStreams, options.max_ram / 8);
}

void estimate_needs(Plan& plan, const CompressOptions& options) {
  const PlainNeeds plain = plain_needs(plan);
  CompressPlan& summary = plan.summary;
  summary.disk_bytes = summary.output_bytes + plain.parked;
  summary.peak_ram_bytes = plain.memory(plan.threads);
  if (!calibrates(plan, options)) return;
  const model::ModelConfig& config = plan.source.config;
  const uint64_t activations =
      activation_bytes(config, options.calibration_windows, window_tokens(config));
  const uint64_t least = summary.peak_ram_bytes + calibration_bytes(plan);
  plan.activations_in_memory =
      options.max_ram > 0 ? least + activations <= options.max_ram : activations <= kMaxActivations;
  uint64_t spilled = plan.activations_in_memory ? 0 : activations;
  const uint64_t calibrated = least + (plan.activations_in_memory ? activations : 0);
  uint64_t choice = 0;
  if (chooses_codecs(plan, options)) {
    choice = summary.peak_ram_bytes + choice_bytes(plan, options);
    const uint64_t streams = choice_stream_bytes(plan, options);
    if (streams > streams_in_memory(options)) spilled = std::max(spilled, streams);
  }
  summary.peak_ram_bytes = std::max(calibrated, choice);
  summary.disk_bytes += spilled + journal_bytes(plan);
}

void check_memory(const Plan& plan, const CompressOptions& options) {
  const uint64_t needed = plan.summary.peak_ram_bytes;
  if (options.max_ram == 0 || needed <= options.max_ram) return;
  throw Error(ErrorCode::kOutOfMemory,
              fmt::format("--max-ram: found {}, needed are {} ({} bytes): a layer, its second "
                          "moments and a window of activations; fewer threads need less",
                          base::format_bytes(options.max_ram), base::format_bytes(needed), needed));
}

}  // namespace upg::compression
