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
#include <memory>
#include <span>
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
  explicit UpgFile(base::MappedFile mapped);

  const UpgInfo& info() const noexcept { return info_; }
  const SafetensorsFile& container() const noexcept { return container_; }
  const MatrixRecord* find_matrix(std::string_view name) const noexcept;
  // The tensor `suffix` of a matrix; nullptr when absent.
  const base::TensorView* part(const MatrixRecord& matrix, std::string_view suffix) const noexcept;
  // A tensor that is no matrix (a norm, a bias), aligned for its type; nullptr when absent.
  const base::TensorView* find_tensor(std::string_view name) const noexcept;
  // A text that travels as a U8 tensor ("tokenizer.json", "tokenizer_config.json"); empty if
  // absent.
  std::string_view text(std::string_view name) const noexcept;

  // Reads every byte and compares checksums. Returns one message an error ("NAME: ..."); empty when
  // all is well, and for a version 2 file of somebody else, which has no checksums.
  // `progress(done, total)` in bytes, from any thread but one at a time; it may throw to stop.
  std::vector<std::string> verify(
      const std::function<void(uint64_t done, uint64_t total)>& progress) const;

  bool has_checksums() const noexcept { return container_.metadata().contains("checksums"); }

 private:
  struct AlignedCopy {
    base::TensorView view;
    std::vector<std::byte> bytes;
  };
  void check_header_sum() const;
  void check_alignment() const;
  void copy_misaligned();
  void check_texts() const;
  void check_checksums();

  SafetensorsFile container_;
  UpgInfo info_;
  std::string_view separator_;       // between a stem and a suffix
  std::vector<uint64_t> checksums_;  // of the container's tensors
  std::map<std::string, size_t, std::less<>> by_name_;
  std::map<std::string, AlignedCopy, std::less<>> copies_;  // version 2 only
};

// The header_estimate of a writer: what the tensors' entries, the records and the texts of `info`
// need, on the safe side.
uint64_t estimate_header(const UpgInfo& info, std::span<const std::string> tensor_names);

// Writes a UPG file. Codes first, in call order; the small tensors are kept and appended at the
// end, widest element type first. Nothing appears before finish().
class UpgWriter {
 public:
  // header_estimate: what the tensors' entries and the metadata need (estimate_header); room for
  // the quality and 64 KiB of slack are added. With version "2.0" large parts are written at once
  // in natural alignment, which the order row_pointers, scales, prime_indices, values,
  // delta_indices gives; finish() must then get that version.
  UpgWriter(const std::filesystem::path& target, uint64_t header_estimate,
            std::string_view version = "3.0");
  ~UpgWriter();

  // The size of a file of so many bytes of data.
  static uint64_t file_bytes(uint64_t header_estimate, uint64_t data_bytes);

  void reserve(uint64_t data_bytes);
  // A part of a matrix that is large: written at once when what follows stays aligned (version 3:
  // its length is a multiple of 64), else parked in a temporary file until finish().
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
    size_t size;
    int64_t spooled_at;  // -1: in memory
  };
  bool fits_here(base::DType dtype, uint64_t bytes) const noexcept;
  void append_small();

  std::filesystem::path target_;
  SafetensorsWriter writer_;
  bool natural_alignment_;
  std::unique_ptr<base::AtomicFile> spool_;
  uint64_t spool_bytes_ = 0;
  std::vector<Small> small_;
  std::map<std::string, uint64_t> checksums_;
};

// Replaces the `quality` text in the header of a file that UpgWriter made, in place; crash-safe (a
// crash leaves the old text or the new one). Throws Error: kIo; kInvalidData; kUsage when the text
// does not fit the 4 KiB that are set aside.
void write_quality(const std::filesystem::path& path, std::string_view quality_json);

bool looks_like_upg(const std::filesystem::path& path);  // a regular file

}  // namespace upg::format
