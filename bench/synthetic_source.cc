#include "synthetic_source.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "base/check.h"
#include "kernels/scratch.h"

namespace upg::bench {
namespace {

using codec::kBlockColumns;
using codec::kGroupRows;

class SyntheticSource final : public model::ModelSource {
 public:
  explicit SyntheticSource(const SyntheticShape& shape) : codec_(shape.codec) {
    config_ = model::parse_config(tools::config_text(shape), "", "config.json");
    specs_ = model::tensor_specs(config_);
    int64_t most = 0;
    int64_t rows = 0;
    for (const model::TensorSpec& spec : specs_) {
      most = std::max(most, codec::padded_rows(spec.rows) * codec::padded_cols(spec.cols));
      rows = std::max(rows, codec::padded_rows(spec.rows));
    }
    fill_codes(most / 2 + kSlack);
    float* scale = scale_.reserve(rows);
    std::fill_n(scale, rows, 0.02f);
    signs_.assign(static_cast<size_t>(codec::padded_cols(shape.intermediate) / 8), 0x5a);
    if (codec_ == "sparse") fill_sparse(most, rows);
  }

  codec::Matrix matrix(const model::TensorSpec& spec) const override {
    const std::string_view name = codec_name(spec);
    const bool rotated = spec.role == model::Role::kMatrix && name != "sparse";
    codec::Matrix matrix{spec.rows, spec.cols, {}, rotated ? signs_.data() : nullptr};
    if (name == "sparse") {
      matrix.view = sparse(spec);
    } else {
      matrix.view = path(spec, name[4] - '0');
    }
    return matrix;
  }

  std::vector<std::span<const std::byte>> mappings() const override { return {}; }

  std::vector<float> vector(const model::TensorSpec& spec) const override {
    return std::vector<float>(static_cast<size_t>(spec.rows), 1.0f);
  }

  std::string_view codec_name(const model::TensorSpec& spec) const override {
    if (spec.role == model::Role::kVector) return "raw";
    if (spec.role != model::Role::kMatrix) return "path4";
    if (codec_ != "10x") return codec_;
    return hash(spec) % 9 == 0 ? "path4" : "path3";
  }

  uint64_t stored_bytes(const model::TensorSpec& spec) const override {
    if (spec.role == model::Role::kVector) return 4 * static_cast<uint64_t>(spec.rows);
    const auto weights =
        static_cast<uint64_t>(codec::padded_rows(spec.rows) * codec::padded_cols(spec.cols));
    const std::string_view name = codec_name(spec);
    const auto scales = 4 * static_cast<uint64_t>(spec.rows);
    if (name == "sparse") return weights * 3 / 8 + scales;
    return weights * static_cast<uint64_t>(name[4] - '0') / 8 + scales;
  }

  uint64_t file_bytes() const override {
    uint64_t bytes = 0;
    for (const model::TensorSpec& spec : specs_) bytes += stored_bytes(spec);
    return bytes;
  }
  std::string_view profile() const override { return codec_; }
  std::string_view config_text() const override { return {}; }
  std::string_view generation_config_text() const override { return {}; }
  std::string_view tokenizer_text() const override { return {}; }
  std::string_view tokenizer_config_text() const override { return {}; }
  std::string_view chat_template_text() const override { return {}; }

 private:
  static constexpr int64_t kSlack = int64_t{1} << 20;

  static uint64_t hash(const model::TensorSpec& spec) {
    return tools::Random{tools::hash_name(spec.name)}.next();
  }

  // Every matrix begins somewhere else in the same random bytes.
  int64_t offset(const model::TensorSpec& spec) const {
    return static_cast<int64_t>(hash(spec) % static_cast<uint64_t>(kSlack)) / 64 * 64;
  }

  void fill_codes(int64_t bytes) {
    uint8_t* codes = codes_.reserve(bytes);
    tools::Random random{7};
    for (int64_t i = 0; i + 8 <= bytes; i += 8) {
      const uint64_t word = random.next();
      std::memcpy(codes + i, &word, 8);
    }
  }

  codec::PathMatrix path(const model::TensorSpec& spec, int bits) const {
    codec::PathMatrix path;
    path.bits = bits;
    path.two_palettes = true;
    path.codes = codes_.data() + offset(spec);
    path.scale = scale_.data();
    for (int i = 0; i < 1 << bits; ++i) {
      const int step = 80 >> bits;
      path.level_a[static_cast<size_t>(i)] = static_cast<int8_t>(step * i - 40 + step / 2);
      path.level_b[static_cast<size_t>(i)] = static_cast<int8_t>((7 * i) % 23 - 11);
    }
    return path;
  }

  // Half of the bits of every mask.
  void fill_sparse(int64_t most, int64_t rows) {
    std::memset(masks_.reserve(most / 8), 0x5a, static_cast<size_t>(most / 8));
    offsets_.reserve(rows / kGroupRows + 1);
  }

  codec::SparseMatrix sparse(const model::TensorSpec& spec) const {
    const int64_t groups = codec::padded_rows(spec.rows) / kGroupRows;
    const int64_t bytes = kGroupRows * codec::padded_cols(spec.cols) / 4;
    for (int64_t g = 0; g <= groups; ++g) {
      offsets_.data()[g] = static_cast<uint32_t>(g * bytes);
    }
    codec::SparseMatrix sparse;
    sparse.masks = masks_.data();
    sparse.codes = codes_.data();
    sparse.offsets = offsets_.data();
    sparse.scale = scale_.data();
    for (int i = 1; i < 16; ++i)
      sparse.level[static_cast<size_t>(i)] = static_cast<int8_t>(8 * i - 64);
    return sparse;
  }

  std::string codec_;
  kernels::Scratch<uint8_t> codes_;
  kernels::Scratch<uint8_t> masks_;
  mutable kernels::Scratch<uint32_t> offsets_;
  kernels::Scratch<float> scale_;
  std::vector<uint8_t> signs_;
};

}  // namespace

std::shared_ptr<const model::ModelSource> make_synthetic_source(const SyntheticShape& shape) {
  return std::make_shared<SyntheticSource>(shape);
}

}  // namespace upg::bench
