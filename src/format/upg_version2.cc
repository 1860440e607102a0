// Format version 2: five tensors a matrix, called layer_0_values and so on, and little metadata.
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <set>

#include "base/json.h"
#include "base/text.h"
#include "format/upg_metadata.h"

namespace upg::format {
namespace {

constexpr std::array<std::string_view, 5> kParts = {"values", "delta_indices", "row_pointers",
                                                    "prime_indices", "scales"};
constexpr std::string_view kPrefix = "layer_";

// The number of matrices: num_layers where it is, else as many as there are row pointers.
size_t count_matrices(const SafetensorsFile& file, std::string_view path) {
  size_t stored = 0;
  for (const TensorEntry& tensor : file.tensors()) {
    if (tensor.name.starts_with(kPrefix) && tensor.name.ends_with("_row_pointers")) ++stored;
  }
  const std::string_view text = field(file.metadata(), "num_layers");
  if (text.empty()) return stored;
  size_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size()) {
    fail_upg(path, "FIELD",
             fmt::format("num_layers: found \"{}\", allowed is a count", base::printable(text)));
  }
  if (count < stored) {
    fail_upg(path, "MISMATCH",
             fmt::format("num_layers: found {}, but {} matrices are stored", count, stored));
  }
  return count;
}

const TensorEntry& require(const SafetensorsFile& file, std::string_view path,
                           const std::string& name) {
  const TensorEntry* tensor = file.find(name);
  if (tensor == nullptr) fail_upg(path, "MISSING", fmt::format("no tensor \"{}\"", name));
  return *tensor;
}

std::string model_name(const UpgInfo& info) {
  if (info.config.empty()) return "unknown";
  const base::JsonDocument config(info.config, "config.json");
  for (const char* key : {"_name_or_path", "model_type"}) {
    const base::Json* value = config.root().find(key);
    if (value == nullptr || !value->is_string()) continue;
    const std::string_view name = value->as_string(key);
    if (!name.empty()) return std::string(name);
  }
  return "unknown";
}

}  // namespace

std::vector<MatrixRecord> version2_matrices(const SafetensorsFile& file) {
  const std::string path = file.path().native();
  const size_t count = count_matrices(file, path);
  if (count == 0) fail_upg(path, "MISSING", "no tensor \"layer_0_values\"");
  std::vector<MatrixRecord> matrices;
  for (size_t i = 0; i < count; ++i) {
    const std::string stem = fmt::format("{}{}", kPrefix, i);
    for (const std::string_view part : kParts)
      require(file, path, fmt::format("{}_{}", stem, part));
    const TensorEntry& pointers = require(file, path, stem + "_row_pointers");
    const bool fits = pointers.view.dtype == base::DType::kU32 && pointers.view.shape.size() == 1 &&
                      pointers.view.shape[0] >= 2 && pointers.view.shape[0] <= kMaxExtent;
    if (!fits) {
      fail_upg(
          path, "SHAPE",
          fmt::format("tensor \"{}\": found {} {}, allowed is U32 [rows + 1]", pointers.name,
                      base::name_of(pointers.view.dtype), base::shape_text(pointers.view.shape)));
    }
    MatrixRecord record;
    record.name = stem;
    record.stem = stem;
    record.codec = "mdcsr";
    record.codec_version = 2;
    record.rows = pointers.view.shape[0] - 1;
    matrices.push_back(std::move(record));
  }
  return matrices;
}

std::vector<std::pair<std::string, std::string>> version2_fields(const UpgInfo& info,
                                                                 uint64_t data_bytes) {
  double weights = 0;
  size_t layers = 0;
  for (const MatrixRecord& matrix : info.matrices) {
    weights += static_cast<double>(matrix.rows) * static_cast<double>(matrix.cols);
    if (matrix.stem == fmt::format("{}{}", kPrefix, layers)) ++layers;
  }
  const double ratio = data_bytes == 0 ? 0 : weights * 4 / static_cast<double>(data_bytes);
  return {{"model", model_name(info)},
          {"compression_ratio", fmt::format("{:.3f}", ratio)},
          {"num_layers", std::to_string(layers)}};
}

}  // namespace upg::format
