// The UPG file, versions 2 and 3 (docs/format.md): a safetensors file whose metadata says how each
// matrix is stored.
//
// This folder knows names, bytes and checksums. What the bytes of a matrix mean is the codecs' part
// (codec/codec.h), which bind() them; the two meet in model/source.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "format/safetensors.h"

namespace upg::format {

// How one matrix is stored.
struct MatrixRecord {
  std::string name;   // "model.layers.0.mlp.down_proj.weight"
  std::string codec;  // "path3"
  int codec_version = 1;
  int64_t rows = 0;
  int64_t cols = 0;
  std::string signs;  // name of the U8 tensor with the rotation's signs; empty: not rotated
  std::string stem;   // the parts are called stem + "." + suffix (version 3) or stem + "_" + suffix
                      // (version 2, "layer_3"); for the empty suffix, the stem itself
  std::string source_dtype;  // "BF16": what decompress writes by default
};

struct UpgInfo {
  std::string version;  // "3.0" or "2.0"
  std::string profile;  // "10x", ...; empty in foreign files
  std::string config;   // config.json's text; empty in foreign version 2 files
  std::string generation_config;
  std::string chat_template;
  std::string compression;             // JSON: the settings it was made with
  std::string quality;                 // JSON: what `eval --write` measured, or empty
  std::vector<MatrixRecord> matrices;  // in checkpoint order
};

// A UPG file, mapped. Immutable; thread-safe.
class UpgFile {
 public:
  // Checks the container and the records, not the checksums of the data. Throws
  // Error(kInvalidData), or kUnsupported for a major version this build does not know.
  explicit UpgFile(const std::filesystem::path& path);

  const UpgInfo& info() const noexcept { return info_; }
  const SafetensorsFile& container() const noexcept { return container_; }
  const MatrixRecord* find_matrix(std::string_view name) const noexcept;
  // The tensor `suffix` of a matrix; nullptr when absent.
  const base::TensorView* part(const MatrixRecord& matrix, std::string_view suffix) const noexcept;
  // A text that travels as a U8 tensor ("tokenizer.json", "tokenizer_config.json"); empty if
  // absent.
  std::string_view text(std::string_view name) const noexcept;

  // Reads every byte and compares checksums. Returns one message an error ("NAME: ..."); empty when
  // all is well. `progress(done, total)` in bytes; it may throw to stop.
  std::vector<std::string> verify(
      const std::function<void(uint64_t done, uint64_t total)>& progress) const;

 private:
  SafetensorsFile container_;
  UpgInfo info_;
};

// Writes a UPG file. Codes first, in call order; the small tensors are kept and appended at the
// end, widest element type first. Nothing appears before finish().
class UpgWriter {
 public:
  // names_bytes: an estimate of what the tensors' entries and the metadata need in the header; at
  // least 64 KiB of slack is added.
  UpgWriter(const std::filesystem::path& target, uint64_t header_estimate);

  void reserve(uint64_t data_bytes);
  // A part of a matrix that is large (its length is a multiple of 64): written at once.
  void add_codes(std::string_view name, base::DType dtype, std::span<const int64_t> shape,
                 std::span<const std::byte> bytes);
  // Anything small: kept until finish().
  void add_small(std::string_view name, base::DType dtype, std::span<const int64_t> shape,
                 std::vector<std::byte> bytes);
  uint64_t data_bytes() const noexcept;
  void finish(const UpgInfo& info);

 private:
  struct Small {
    std::string name;
    base::DType dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };
  SafetensorsWriter writer_;
  std::vector<Small> small_;
  std::map<std::string, uint64_t> checksums_;
};

// Rewrites the header of a version 3 file in its slack with another `quality` text; crash-safe (a
// crash leaves the old header or the new one). Throws Error(kIo, kInvalidData).
void write_quality(const std::filesystem::path& path, std::string_view quality_json);

bool looks_like_upg(const std::filesystem::path& path);  // a regular file

}  // namespace upg::format
