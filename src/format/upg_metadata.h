// The texts in a UPG file's __metadata__ and what they mean. Internal to this folder.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/header_text.h"
#include "format/safetensors.h"
#include "format/upg_file.h"
#include "upg/error.h"

namespace upg::format {

using Metadata = std::map<std::string, std::string, std::less<>>;
using Checksums = std::map<std::string, uint64_t, std::less<>>;

inline constexpr size_t kUpgMetadataBytes = size_t{64} << 20;
inline constexpr size_t kMaxMatrixName = 1024;
inline constexpr int64_t kMaxExtent = 0x7fffffff;  // of rows and columns

// The header's checksum and the measured quality lead the header, in its first block of the file:
// so both are replaced by one write that a drive does whole (upg_quality.cc).
inline constexpr size_t kQualityRoom = 4096 - 8;
inline constexpr std::string_view kHeaderStart = "{\"__metadata__\":{\"header_checksum\":\"";
inline constexpr std::string_view kChecksumKey = "\"header_checksum\":\"";
inline constexpr std::string_view kNoChecksum = "0000000000000000";

// The value of a key, or empty.
std::string_view field(const Metadata& metadata, std::string_view key) noexcept;
// "3.0" -> 3. Throws Error: kInvalidData KIND when there is none, kUnsupported VERSION when this
// build does not read it.
int major_version(const Metadata& metadata, std::string_view file);

// Everything but the matrices of a version 2 file that does not list them.
UpgInfo parse_info(const Metadata& metadata, std::string_view file);
std::vector<MatrixRecord> parse_matrices(std::string_view text, std::string_view file);
std::string matrices_text(const std::vector<MatrixRecord>& matrices);

// Tensor name -> XXH3-64.
Checksums parse_checksums(std::string_view text, std::string_view file);
std::string checksums_text(const std::map<std::string, uint64_t>& checksums);

// XXH3-64 of the header with the digits of its own field as zeros; the field's digits as they are.
// Throws SUM when the field is missing.
struct HeaderChecksum {
  std::string found;
  std::string computed;
};
HeaderChecksum header_checksum(std::string_view header, std::string_view file);
// Puts the checksum in.
void seal_header(std::string& header);

// The matrices of a version 2 file that has no list of them: layer_0, layer_1, ...
std::vector<MatrixRecord> version2_matrices(const SafetensorsFile& file);
// The additional metadata of version 2: model, compression_ratio, num_layers.
std::vector<std::pair<std::string, std::string>> version2_fields(const UpgInfo& info,
                                                                 uint64_t data_bytes);

// Throws Error(code) "FILE: message (WORD)".
[[noreturn]] void fail_upg(std::string_view file, std::string_view word, std::string_view message,
                           ErrorCode code = ErrorCode::kInvalidData);

}  // namespace upg::format
