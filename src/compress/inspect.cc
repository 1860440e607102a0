// upg::inspect: what a UPG file or a checkpoint holds, from its header.
#include <fmt/format.h>

#include "base/tensor_view.h"
#include "base/text.h"
#include "compress/plan.h"
#include "compress/provenance.h"
#include "compress/stored_model.h"
#include "format/checkpoint.h"
#include "upg/compress.h"

namespace upg::compression {
namespace {

TensorReport report_of(std::string name, std::string codec, int64_t rows, int64_t cols,
                       uint64_t bytes) {
  const double weights = static_cast<double>(rows) * static_cast<double>(cols);
  return {.name = std::move(name),
          .codec = std::move(codec),
          .rows = rows,
          .cols = cols,
          .bits_per_weight = weights > 0 ? 8.0 * static_cast<double>(bytes) / weights : 0,
          .bytes = bytes,
          .relative_error = 0,
          .loss = 0};
}

void add_totals(InspectReport& report) {
  for (const TensorReport& tensor : report.tensors) {
    report.parameters += static_cast<uint64_t>(tensor.rows) * static_cast<uint64_t>(tensor.cols);
  }
  if (report.parameters == 0 || report.file_bytes == 0) return;
  report.bits_per_weight =
      8.0 * static_cast<double>(report.file_bytes) / static_cast<double>(report.parameters);
  report.ratio_f32 = 32.0 / report.bits_per_weight;
}

InspectReport inspect_checkpoint(const std::filesystem::path& folder) {
  const SourceModel source = open_source(folder);
  InspectReport report;
  report.file = folder.native();
  report.version = "checkpoint";
  report.profile = "checkpoint";
  report.architecture = source.config.architecture;
  BitSum layers;
  for (size_t i = 0; i < source.specs.size(); ++i) {
    const model::TensorSpec& spec = source.specs[i];
    const base::TensorView& view = source.entries[i]->view;
    report.tensors.push_back(
        report_of(spec.name, codec_name_of(view.dtype), spec.rows, spec.cols, view.bytes.size()));
    report.file_bytes += view.bytes.size();
    if (spec.role == model::Role::kMatrix) {
      layers.add(report.tensors.back().bits_per_weight,
                 static_cast<double>(spec.rows) * static_cast<double>(spec.cols));
    }
  }
  report.layer_bits_at_5120 = layers.average();
  add_totals(report);
  return report;
}

InspectReport inspect_file(const std::filesystem::path& path) {
  const StoredModel stored(path);
  const format::UpgInfo& info = stored.file().info();
  InspectReport report;
  report.file = path.native();
  report.version = info.version;
  report.profile = info.profile;
  report.architecture = stored.architecture();
  report.file_bytes = stored.file().container().file_bytes();
  report.compression = info.compression;
  report.quality = info.quality;
  const auto measures = read_measures(info.compression, base::printable(path.native()));
  BitSum layers;
  for (const StoredTensor& tensor : stored.tensors()) {
    const std::string codec = tensor.codec != nullptr ? std::string(tensor.codec->name) : "f32";
    report.tensors.push_back(report_of(tensor.name, codec, tensor.rows, tensor.cols, tensor.bytes));
    if (const auto found = measures.find(tensor.name); found != measures.end()) {
      report.tensors.back().relative_error = found->second.relative_error;
      report.tensors.back().loss = found->second.loss.value_or(0);
    }
    if (tensor.layer) {
      layers.add(bits_at_5120(stored.storage_of(tensor), tensor.rows, tensor.cols, tensor.bytes),
                 static_cast<double>(tensor.elements()));
    }
  }
  report.layer_bits_at_5120 = layers.average();
  add_totals(report);
  return report;
}

}  // namespace
}  // namespace upg::compression

namespace upg {

InspectReport inspect(const std::filesystem::path& file) {
  std::error_code ignored;
  return std::filesystem::is_directory(file, ignored) ? compression::inspect_checkpoint(file)
                                                      : compression::inspect_file(file);
}

}  // namespace upg
