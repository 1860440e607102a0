// The safetensors container: a strict reader over a mapped file, and a streaming writer.
//
// Format: https://github.com/huggingface/safetensors (8-byte header length, JSON header, data).
// Stricter than the reference reader: duplicate names, leading spaces, tabs or NULs after the
// header, unknown fields and ranks above 8 are refused (docs/format.md lists every rule). A tensor
// of a foreign file may lie at any byte: read it through base::to_float or memcpy.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/tensor_view.h"

namespace upg::format {

inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the reference reader
inline constexpr size_t kMaxTensors = size_t{1} << 20;
inline constexpr size_t kMaxRank = 8;

struct SafetensorsLimits {
  // Keys and values of __metadata__, 64 bytes an entry added. A foreign file has little of it; a
  // UPG file keeps its records there (kUpgMetadataBytes).
  size_t metadata_bytes = size_t{1} << 20;
};

struct TensorEntry {
  std::string name;
  base::TensorView view;  // into the mapping
  uint64_t offset = 0;    // of the first byte, from the start of the file
};

// A mapped safetensors file. Immutable; thread-safe.
class SafetensorsFile {
 public:
  // Throws Error(kInvalidData) naming the file, the tensor and the offset when anything is wrong.
  explicit SafetensorsFile(const std::filesystem::path& path, const SafetensorsLimits& limits = {});
  explicit SafetensorsFile(base::MappedFile file, const SafetensorsLimits& limits = {});

  const std::filesystem::path& path() const noexcept { return file_.path(); }
  std::span<const TensorEntry> tensors() const noexcept {
    return tensors_;
  }                                                               // in file order of data
  const TensorEntry* find(std::string_view name) const noexcept;  // O(log n)
  const std::map<std::string, std::string, std::less<>>& metadata() const noexcept {
    return metadata_;
  }
  uint64_t file_bytes() const noexcept { return file_.bytes().size(); }
  std::string_view header_text() const noexcept;  // the JSON with its padding
  const base::MappedFile& file() const noexcept { return file_; }

 private:
  base::MappedFile file_;
  std::vector<TensorEntry> tensors_;
  std::vector<uint32_t> by_name_;  // indices into tensors_, sorted by name
  std::map<std::string, std::string, std::less<>> metadata_;
};

// The pure parser behind it, for fuzzing: `bytes` are a whole file.
struct ParsedSafetensors {
  std::vector<TensorEntry> tensors;
  std::map<std::string, std::string, std::less<>> metadata;
};
ParsedSafetensors parse_safetensors(std::span<const std::byte> bytes, std::string_view file,
                                    const SafetensorsLimits& limits = {});

struct HeaderField;

// Writes tensors one after the other behind a header of fixed capacity, which comes last. Nothing
// appears under the target's name before finish(). Throws Error(kIo); kUsage when the metadata and
// names outgrow the capacity.
class SafetensorsWriter {
 public:
  // header_bytes: room for the JSON header, rounded up so that data start 64-byte aligned.
  SafetensorsWriter(const std::filesystem::path& target, uint64_t header_bytes);

  // Where the data start: the header's length and text come before.
  static uint64_t data_offset(uint64_t header_bytes);

  void reserve(uint64_t data_bytes);  // disk space
  // Appends at the current end: no gaps. Returns the XXH3-64 of the bytes.
  uint64_t append(std::string_view name, base::DType dtype, std::span<const int64_t> shape,
                  std::span<const std::byte> bytes);
  uint64_t data_bytes() const noexcept { return data_bytes_; }
  // The header's text, padded with spaces to the capacity.
  std::string header(const std::map<std::string, std::string, std::less<>>& metadata) const;
  std::string header(std::span<const HeaderField> metadata) const;  // in that order
  void finish(std::string_view header);  // writes the header, syncs, renames

 private:
  struct Written {
    std::string name;
    base::DType dtype;
    std::vector<int64_t> shape;
    uint64_t begin;
    uint64_t end;
  };
  base::AtomicFile file_;
  std::filesystem::path target_;
  uint64_t header_bytes_;
  uint64_t data_bytes_ = 0;
  std::vector<Written> written_;
};

}  // namespace upg::format
