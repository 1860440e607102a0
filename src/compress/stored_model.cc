#include "compress/stored_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <variant>

#include "base/json.h"
#include "base/text.h"
#include "model/config.h"
#include "model/tensors.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using format::MatrixRecord;

constexpr int64_t kMaxCols = INT32_MAX;
// As in version 3 (format/upg_reader.cc): a file that claims more weights a byte is no model.
constexpr uint64_t kMaxWeightsPerByte = 65536;

// The largest column of a matrix plus one, at least 1. Its indices have been checked.
int64_t columns_needed(const codec::Matrix& matrix) {
  const auto* sparse = std::get_if<codec::MdcsrMatrix>(&matrix.view);
  if (sparse == nullptr) return matrix.cols;
  int64_t needed = 1;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    int64_t column = 0;
    for (int64_t i = sparse->row_pointers[row]; i < sparse->row_pointers[row + 1]; ++i) {
      column += sparse->deltas[i];
    }
    needed = std::max(needed, column + 1);
  }
  return needed;
}

const codec::Codec& find_codec(const MatrixRecord& record, bool foreign, const std::string& file) {
  const codec::Codec* codec = codec::find_codec(record.codec);
  if (codec != nullptr && (foreign || record.codec_version == codec->version)) return *codec;
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format(
          "{}: matrix \"{}\": found codec {} version {}, allowed is {} (VERSION)", file,
          base::printable(record.name), base::printable(record.codec), record.codec_version,
          codec == nullptr ? codec::codec_names() : fmt::format("version {}", codec->version)));
}

std::optional<base::DType> float_dtype(const base::Json* value) {
  if (value == nullptr || !value->is_string()) return std::nullopt;
  const auto dtype = base::parse_dtype(value->as_string("dtype"));
  const bool known =
      dtype == base::DType::kF32 || dtype == base::DType::kF16 || dtype == base::DType::kBF16;
  return known ? dtype : std::nullopt;
}

}  // namespace

StoredModel::StoredModel(const std::filesystem::path& path, int64_t cols) : file_(path) {
  const std::vector<MatrixRecord>& records = file_.info().matrices;
  foreign_ = std::any_of(records.begin(), records.end(),
                         [](const MatrixRecord& record) { return record.cols == 0; });
  for (const MatrixRecord& record : records) add_matrix(record, cols);
  add_vectors();
  mark_layers();
  read_settings();
}

void StoredModel::add_matrix(const MatrixRecord& record, int64_t cols) {
  StoredTensor tensor{.name = record.name,
                      .rows = record.rows,
                      .cols = record.cols,
                      .record = &record,
                      .codec = &find_codec(record, foreign_, name())};
  for (const codec::PartSpec& part :
       tensor.codec->parts(record.rows, std::max<int64_t>(record.cols, 1), {})) {
    const base::TensorView* view = file_.part(record, part.suffix);
    if (view != nullptr) tensor.bytes += view->bytes.size();
  }
  if (record.cols == 0) {
    tensor.cols = std::max(cols, columns_needed(bind_as(tensor, kMaxCols)));
    if (tensor.elements() / kMaxWeightsPerByte > tensor.bytes) {
      throw Error(ErrorCode::kInvalidData,
                  fmt::format("{}: matrix \"{}\": found {} x {} weights in {} bytes, allowed are "
                              "{} a byte (MISMATCH)",
                              name(), base::printable(tensor.name), tensor.rows, tensor.cols,
                              tensor.bytes, kMaxWeightsPerByte));
    }
  }
  tensors_.push_back(std::move(tensor));
}

// Whatever is F32, has one dimension and belongs to no matrix.
void StoredModel::add_vectors() {
  std::set<const base::TensorView*> claimed;
  for (const StoredTensor& tensor : tensors_) {
    for (const codec::PartSpec& part : tensor.codec->parts(tensor.rows, tensor.cols, {})) {
      claimed.insert(file_.part(*tensor.record, part.suffix));
    }
  }
  for (const format::TensorEntry& entry : file_.container().tensors()) {
    const base::TensorView* view = file_.find_tensor(entry.name);
    if (claimed.contains(view) || view->dtype != base::DType::kF32 || view->shape.size() != 1) {
      continue;
    }
    tensors_.push_back(
        {.name = entry.name, .rows = view->shape[0], .vector = view, .bytes = view->bytes.size()});
  }
}

void StoredModel::mark_layers() {
  std::set<std::string> others;
  if (!file_.info().config.empty()) {
    const model::ModelConfig config = model::parse_config(
        file_.info().config, file_.info().generation_config, fmt::format("{}: config", name()));
    for (const model::TensorSpec& spec : model::tensor_specs(config)) {
      if (spec.role != model::Role::kMatrix) others.insert(spec.name);
    }
  }
  for (StoredTensor& tensor : tensors_) {
    tensor.layer = tensor.record != nullptr && !others.contains(tensor.name);
  }
}

// What the settings say of the source; files that say nothing get the defaults.
void StoredModel::read_settings() {
  if (file_.info().compression.empty()) return;
  const base::JsonDocument document(file_.info().compression,
                                    fmt::format("{}: compression", name()));
  const base::Json& settings = document.root();
  if (const base::Json* sparsity = settings.find("sparsity"); sparsity && sparsity->is_number()) {
    const double value = sparsity->as_number("sparsity");
    if (value >= 0 && value < 1) sparsity_ = value;
  }
  vector_dtype_ = float_dtype(settings.find("vector_dtype")).value_or(base::DType::kF32);
  const base::Json* others = settings.find("vector_dtypes");
  if (others == nullptr || !others->is_object()) return;
  for (const base::Json::Member& member : others->as_object("vector_dtypes")) {
    const auto dtype = float_dtype(&member.value);
    if (dtype) vector_dtypes_.emplace(member.key, *dtype);
  }
}

codec::Matrix StoredModel::bind(const StoredTensor& tensor) const {
  return bind_as(tensor, tensor.cols);
}

codec::Matrix StoredModel::bind_as(const StoredTensor& tensor, int64_t cols) const {
  const MatrixRecord& record = *tensor.record;
  const std::string where = fmt::format("{}: {}", name(), base::printable(tensor.name));
  codec::StoredMatrix stored;
  stored.name = where;
  stored.rows = tensor.rows;
  stored.cols = cols;
  if (!record.signs.empty()) {  // type and size: checked by UpgFile
    stored.signs = file_.find_tensor(record.signs)->data<uint8_t>();
  }
  stored.part = [&](std::string_view suffix) { return file_.part(record, suffix); };
  return tensor.codec->bind(stored);
}

Storage StoredModel::storage_of(const StoredTensor& tensor) const {
  Storage storage;
  storage.codec = tensor.codec;
  storage.rotated = !tensor.record->signs.empty();
  storage.options.sparsity = sparsity_;
  const base::TensorView* whole = file_.part(*tensor.record, "");
  if (whole != nullptr) storage.options.raw_dtype = whole->dtype;
  return storage;
}

base::DType StoredModel::source_dtype(const StoredTensor& tensor) const {
  if (tensor.record != nullptr) {
    const auto dtype = base::parse_dtype(tensor.record->source_dtype);
    return dtype == base::DType::kF16 || dtype == base::DType::kBF16 ? *dtype : base::DType::kF32;
  }
  const auto found = vector_dtypes_.find(tensor.name);
  return found == vector_dtypes_.end() ? vector_dtype_ : found->second;
}

void StoredModel::release(const StoredTensor& tensor) const noexcept {
  if (tensor.record == nullptr) return;
  for (const codec::PartSpec& part : tensor.codec->parts(tensor.rows, tensor.cols, {})) {
    const base::TensorView* view = file_.part(*tensor.record, part.suffix);
    if (view != nullptr) file_.container().file().release(view->bytes);
  }
}

std::string StoredModel::name() const { return base::printable(file_.container().path().native()); }

std::string StoredModel::architecture() const {
  if (file_.info().config.empty()) return {};
  const base::JsonDocument document(file_.info().config, fmt::format("{}: config", name()));
  const base::Json* names = document.root().find("architectures");
  if (names == nullptr || !names->is_array() || names->as_array("architectures").empty()) return {};
  const base::Json& first = names->as_array("architectures")[0];
  return first.is_string() ? std::string(first.as_string("architectures")) : std::string();
}

}  // namespace upg::compression
