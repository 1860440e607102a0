// A UPG file as a model: the container's records (format) bound by their codecs.
#include <fmt/format.h>

#include "base/check.h"
#include "base/text.h"
#include "codec/codec.h"
#include "format/upg_file.h"
#include "model/source_parts.h"
#include "upg/error.h"

namespace upg::model {
namespace {

using format::MatrixRecord;

class UpgSource final : public ModelSource {
 public:
  explicit UpgSource(const std::filesystem::path& path)
      : file_(path), file_name_(base::printable(path.native())) {
    path_ = path;
    require_config();
    config_ = parse_config(config_text(), generation_config_text(),
                           fmt::format("{}: config", file_name_));
    specs_ = tensor_specs(config_);
    for (const TensorSpec& spec : specs_) {
      if (spec.role == Role::kVector) {
        check_tensor(vector_view(spec), shape_of(spec), spec.name, file_name_);
      } else {
        matrices_.emplace(spec.name, bind(spec));
      }
    }
    refuse_unknown_matrices();
  }

  codec::Matrix matrix(const TensorSpec& spec) const override {
    const auto found = matrices_.find(spec.name);
    UPG_CHECK(found != matrices_.end());
    return found->second;
  }

  std::vector<float> vector(const TensorSpec& spec) const override {
    return read_vector(vector_view(spec), spec, file_name_);
  }

  std::string_view codec_name(const TensorSpec& spec) const override {
    return spec.role == Role::kVector ? "raw" : std::string_view(record(spec).codec);
  }

  uint64_t stored_bytes(const TensorSpec& spec) const override {
    if (spec.role == Role::kVector) return vector_view(spec).bytes.size();
    const MatrixRecord& matrix = record(spec);
    uint64_t bytes = 0;
    for (const codec::PartSpec& part : codec_of(matrix).parts(spec.rows, spec.cols, {})) {
      const base::TensorView* view = file_.part(matrix, part.suffix);
      if (view != nullptr) bytes += view->bytes.size();
    }
    return bytes;
  }

  std::vector<std::span<const std::byte>> mappings() const override {
    return {file_.container().file().bytes()};
  }

  uint64_t file_bytes() const override { return file_.container().file_bytes(); }
  std::string_view profile() const override { return file_.info().profile; }

  std::string_view config_text() const override { return file_.info().config; }
  std::string_view generation_config_text() const override {
    return file_.info().generation_config;
  }
  std::string_view tokenizer_text() const override { return file_.text("tokenizer.json"); }
  std::string_view tokenizer_config_text() const override {
    return file_.text("tokenizer_config.json");
  }
  std::string_view chat_template_text() const override { return file_.info().chat_template; }

 private:
  // Files of version 2 that other programs wrote hold matrices without names or config.
  void require_config() const {
    if (!file_.info().config.empty()) return;
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{}: version {} without a config: running it needs the model's "
                            "config.json in the file; inspect, verify and decompress work",
                            file_name_, base::printable(file_.info().version)));
  }

  const MatrixRecord& record(const TensorSpec& spec) const {
    const MatrixRecord* found = file_.find_matrix(spec.name);
    if (found == nullptr) fail_missing(spec.name, file_name_);
    return *found;
  }

  const base::TensorView& vector_view(const TensorSpec& spec) const {
    const base::TensorView* tensor = file_.find_tensor(spec.name);
    if (tensor == nullptr) fail_missing(spec.name, file_name_);
    return *tensor;
  }

  [[noreturn]] void fail(const MatrixRecord& matrix, std::string_view found,
                         std::string_view allowed, std::string_view code) const {
    throw Error(ErrorCode::kInvalidData,
                fmt::format("{}: matrix \"{}\": found {}, allowed is {} ({})", file_name_,
                            base::printable(matrix.name), found, allowed, code));
  }

  const codec::Codec& codec_of(const MatrixRecord& matrix) const {
    const codec::Codec* codec = codec::find_codec(matrix.codec);
    if (codec == nullptr || matrix.codec_version != codec->version) {
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format(
              "{}: matrix \"{}\": codec {} version {}, this build knows {}", file_name_,
              base::printable(matrix.name), base::printable(matrix.codec), matrix.codec_version,
              codec == nullptr ? codec::codec_names() : fmt::format("version {}", codec->version)));
    }
    return *codec;
  }

  // The signs of a matrix's input rotation, or nullptr.
  const uint8_t* signs_of(const MatrixRecord& matrix, const TensorSpec& spec) const {
    if (matrix.signs.empty()) return nullptr;
    if (spec.role == Role::kEmbedding) fail(matrix, "a rotation", "none for an embedding", "FIELD");
    const base::TensorView* signs = file_.find_tensor(matrix.signs);
    if (signs == nullptr) fail_missing(matrix.signs, file_name_);
    const std::vector<int64_t> shape = {codec::padded_cols(spec.cols) / 8};
    if (signs->dtype != base::DType::kU8 || signs->shape != shape) {
      fail(matrix,
           fmt::format("signs of {} {}", base::name_of(signs->dtype),
                       base::shape_text(signs->shape)),
           fmt::format("U8 {}", base::shape_text(shape)), "MISMATCH");
    }
    return signs->data<uint8_t>();
  }

  codec::Matrix bind(const TensorSpec& spec) const {
    const MatrixRecord& matrix = record(spec);
    if (matrix.rows != spec.rows || matrix.cols != spec.cols) {
      fail(matrix, fmt::format("[{}, {}]", matrix.rows, matrix.cols),
           base::shape_text(shape_of(spec)), "MISMATCH");
    }
    const std::string name = fmt::format("{}: {}", path_.filename().native(), spec.name);
    codec::StoredMatrix stored;
    stored.name = name;
    stored.rows = spec.rows;
    stored.cols = spec.cols;
    stored.signs = signs_of(matrix, spec);
    stored.part = [&](std::string_view suffix) { return file_.part(matrix, suffix); };
    return codec_of(matrix).bind(stored);
  }

  void refuse_unknown_matrices() const {
    for (const MatrixRecord& matrix : file_.info().matrices) {
      if (matrices_.contains(matrix.name)) continue;
      fail(matrix, fmt::format("[{}, {}]", matrix.rows, matrix.cols),
           fmt::format("what {} with this config has", config_.architecture), "MISMATCH");
    }
  }

  format::UpgFile file_;
  std::string file_name_;  // for messages
  BoundMatrices matrices_;
};

}  // namespace

std::unique_ptr<ModelSource> open_upg_file(const std::filesystem::path& file) {
  return std::make_unique<UpgSource>(file);
}

}  // namespace upg::model
