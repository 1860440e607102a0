#include "compress/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/threads.h"
#include "codec/matrix.h"
#include "compress/bit_choice.h"
#include "compress/calibration.h"
#include "compress/encode.h"
#include "compress/estimate.h"
#include "compress/needs.h"
#include "compress/provenance.h"
#include "compress/row_reader.h"
#include "compress/zeros.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using base::DType;
using model::Role;
using model::TensorSpec;

uint64_t elements_of(const TensorSpec& spec) {
  return static_cast<uint64_t>(spec.rows) * static_cast<uint64_t>(spec.cols);
}

std::vector<DType> dtypes_of(const SourceModel& source) {
  std::vector<DType> dtypes;
  for (const format::TensorEntry* entry : source.entries) dtypes.push_back(entry->view.dtype);
  return dtypes;
}

PlannedTensor planned(const TensorSpec& spec, const Storage& storage) {
  PlannedTensor tensor{.name = spec.name,
                       .codec = "f32",
                       .rows = spec.rows,
                       .cols = spec.cols,
                       .bytes = elements_of(spec) * sizeof(float),
                       .rotated = storage.rotated};
  if (storage.is_matrix()) {
    tensor.codec = storage.codec->name;
    tensor.bytes = bytes_of(storage.parts(spec.rows, spec.cols));
    tensor.keeps_zeros = storage.options.stored_weights.has_value();
  }
  return tensor;
}

// The tensors with the signs of rotated activations: name and bytes.
std::map<std::string, uint64_t> signs_of(const Plan& plan) {
  std::map<std::string, uint64_t> signs;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const TensorSpec& spec = plan.source.specs[i];
    if (!plan.storage[i].rotated) continue;
    signs[signs_name(spec)] = static_cast<uint64_t>(codec::padded_cols(spec.cols) / 8);
  }
  return signs;
}

uint64_t text_bytes(const SourceModel& source) {
  uint64_t bytes = 0;
  for (const std::string_view name : kTextTensors) bytes += source.checkpoint.text(name).size();
  return bytes;
}

// A function of the plan alone, so that the size of the file is known beforehand.
uint64_t header_estimate(const Plan& plan, const CompressOptions& options) {
  std::vector<std::string> names(kTextTensors.begin(), kTextTensors.end());
  for (const auto& [name, bytes] : signs_of(plan)) names.push_back(name);
  for (const TensorSpec& spec : plan.source.specs) {
    if (spec.role == Role::kVector) names.push_back(spec.name);
  }
  format::UpgInfo info = plan.info();
  info.compression = compression_text(plan, options, widest_provenance(plan, options));
  for (const format::MatrixRecord& record : info.matrices) {
    const codec::Codec* codec = codec::find_codec(record.codec);
    for (const codec::PartSpec& part : codec->parts(record.rows, record.cols, {})) {
      names.push_back(part_name(record, part.suffix, plan.version2()));
    }
  }
  return format::estimate_header(info, names);
}

void sum_bits(Plan& plan) {
  CompressPlan& summary = plan.summary;
  BitSum layers;
  BitSum at_5120;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const TensorSpec& spec = plan.source.specs[i];
    if (spec.role != Role::kMatrix) continue;
    const auto count = static_cast<double>(elements_of(spec));
    const uint64_t bytes = summary.tensors[i].bytes;
    layers.add(8.0 * static_cast<double>(bytes) / count, count);
    at_5120.add(bits_at_5120(plan.storage[i], spec.rows, spec.cols, bytes), count);
  }
  summary.layer_parameters = static_cast<uint64_t>(layers.weights);
  summary.layer_bits = layers.average();
  summary.layer_bits_at_5120 = at_5120.average();
}

}  // namespace

bool is_large(const codec::PartSpec& part, bool version2) noexcept {
  constexpr uint64_t kSmall = uint64_t{1} << 20;
  return version2 || base::size_of(part.dtype) == 1 || bytes_of({&part, 1}) > kSmall;
}

std::string part_name(const format::MatrixRecord& record, std::string_view suffix, bool version2) {
  if (suffix.empty()) return record.stem;
  return fmt::format("{}{}{}", record.stem, version2 ? "_" : ".", suffix);
}

std::vector<format::MatrixRecord> Plan::records() const {
  std::vector<format::MatrixRecord> records;
  for (size_t i = 0; i < storage.size(); ++i) {
    if (!storage[i].is_matrix()) continue;
    const TensorSpec& spec = source.specs[i];
    format::MatrixRecord record;
    record.name = spec.name;
    record.codec = storage[i].codec->name;
    record.codec_version = storage[i].codec->version;
    record.rows = spec.rows;
    record.cols = spec.cols;
    if (storage[i].rotated) record.signs = signs_name(spec);
    record.stem = version2() ? fmt::format("layer_{}", records.size()) : spec.name;
    record.source_dtype = base::name_of(source.entries[i]->view.dtype);
    records.push_back(std::move(record));
  }
  return records;
}

format::UpgInfo Plan::info() const {
  format::UpgInfo info;
  info.version = profile.version;
  info.profile = profile.name;
  info.config = source.checkpoint.text("config.json");
  info.generation_config = source.checkpoint.text("generation_config.json");
  info.chat_template = source.chat_template;
  info.matrices = records();
  return info;
}

void summarise(Plan& plan, const CompressOptions& options) {
  CompressPlan& summary = plan.summary;
  summary = {};
  plan.data_bytes = text_bytes(plan.source);
  for (const auto& [name, bytes] : signs_of(plan)) plan.data_bytes += bytes;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    summary.tensors.push_back(planned(plan.source.specs[i], plan.storage[i]));
    if (!plan.kl.empty()) summary.tensors.back().kl = plan.kl[i];
    summary.expected_kl += summary.tensors.back().kl;
    plan.data_bytes += summary.tensors.back().bytes;
  }
  plan.header_estimate = header_estimate(plan, options);
  summary.parameters = model::parameter_count(plan.source.specs);
  summary.output_bytes = format::UpgWriter::file_bytes(plan.header_estimate, plan.data_bytes);
  summary.ratio_f32 =
      4.0 * static_cast<double>(summary.parameters) / static_cast<double>(summary.output_bytes);
  summary.bits_per_weight = 32.0 / summary.ratio_f32;
  for (const size_t i : plan.chosen) summary.tensors[i].chosen = true;
  estimate_needs(plan, options);
  sum_bits(plan);
}

Plan make_plan(const std::filesystem::path& checkpoint, const CompressOptions& options) {
  const Profile& profile = find_profile(options.profile);  // before anything is read
  Plan plan(open_source(checkpoint));
  plan.profile = profile;
  plan.storage = choose_storage(plan.source.specs, dtypes_of(plan.source), options);
  plan.threads = options.threads > 0 ? options.threads : base::default_threads();
  summarise(plan, options);
  return plan;
}

}  // namespace upg::compression

namespace upg {

CompressPlan plan_compression(const std::filesystem::path& checkpoint,
                              const CompressOptions& options, const ProgressCallback& progress) {
  compression::Plan plan = compression::make_plan(checkpoint, options);
  if (compression::chooses_codecs(plan, options)) {
    // Only where it was asked for: otherwise no weight is read.
    if (options.ratio > 0 || options.bits > 0 || !options.plan_file.empty()) {
      compression::keep_zeros(plan, options);
      compression::choose_codecs(plan, options, std::filesystem::temp_directory_path(), progress);
    } else {
      compression::guess_codecs(plan, options);
    }
  }
  compression::check_memory(plan, options);
  plan.summary.seconds_estimate = compression::estimate_seconds(plan, options);
  return plan.summary;
}

}  // namespace upg
