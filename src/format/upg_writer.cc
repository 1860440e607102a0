#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/json.h"
#include "base/text.h"
#include "format/header_text.h"
#include "format/upg_file.h"
#include "format/upg_metadata.h"
#include "upg/error.h"

namespace upg::format {
namespace {

constexpr uint64_t kSlack = uint64_t{64} << 10;
constexpr uint64_t kCodesAlignment = 64;

uint64_t header_room(uint64_t estimate) { return estimate + kQualityRoom + kSlack; }

}  // namespace

uint64_t estimate_header(const UpgInfo& info, std::span<const std::string> tensor_names) {
  constexpr uint64_t kTensorEntry = 320;  // numbers, brackets, the checksum and its quotes
  constexpr uint64_t kMatrixEntry = 320;
  uint64_t bytes = 0;
  // Quotes inside metadata are escaped, and the names occur as tensor and as checksum.
  const auto quoted = [](std::string_view text) { return 2 * base::json_quote(text).size(); };
  for (const std::string& name : tensor_names) bytes += kTensorEntry + 2 * quoted(name);
  for (const MatrixRecord& matrix : info.matrices) {
    bytes += kMatrixEntry + quoted(matrix.name) + quoted(matrix.stem) + quoted(matrix.signs);
  }
  for (const std::string* text : {&info.config, &info.generation_config, &info.chat_template,
                                  &info.compression, &info.profile}) {
    bytes += base::json_quote(*text).size();
  }
  return bytes + 1024;
}

UpgWriter::UpgWriter(const std::filesystem::path& target, uint64_t header_estimate,
                     std::string_view version)
    : target_(target),
      writer_(target, header_room(header_estimate)),
      natural_alignment_(version.starts_with("2.")) {}

UpgWriter::~UpgWriter() = default;

uint64_t UpgWriter::file_bytes(uint64_t header_estimate, uint64_t data_bytes) {
  return SafetensorsWriter::data_offset(header_room(header_estimate)) + data_bytes;
}

void UpgWriter::reserve(uint64_t data_bytes) { writer_.reserve(data_bytes); }

uint64_t UpgWriter::data_bytes() const noexcept {
  uint64_t bytes = writer_.data_bytes();
  for (const Small& small : small_) bytes += small.size;
  return bytes;
}

// Whether the next tensor and whatever follows it stay aligned when it is written now.
bool UpgWriter::fits_here(base::DType dtype, uint64_t bytes) const noexcept {
  if (natural_alignment_) return writer_.data_bytes() % base::size_of(dtype) == 0;
  return bytes % kCodesAlignment == 0;
}

void UpgWriter::add_codes(std::string_view name, base::DType dtype, std::span<const int64_t> shape,
                          std::span<const std::byte> bytes) {
  if (fits_here(dtype, bytes.size())) {
    checksums_[std::string(name)] = writer_.append(name, dtype, shape, bytes);
    return;
  }
  // Too large to keep in memory: parked in a file beside the target.
  if (!spool_) {
    std::filesystem::path path = target_;
    path += ".parts";
    spool_ = std::make_unique<base::AtomicFile>(path);
  }
  spool_->write_at(spool_bytes_, bytes);
  small_.push_back({std::string(name),
                    dtype,
                    {shape.begin(), shape.end()},
                    {},
                    bytes.size(),
                    static_cast<int64_t>(spool_bytes_)});
  spool_bytes_ += bytes.size();
}

void UpgWriter::add_small(std::string_view name, base::DType dtype, std::span<const int64_t> shape,
                          std::vector<std::byte> bytes) {
  const size_t size = bytes.size();
  small_.push_back(
      {std::string(name), dtype, {shape.begin(), shape.end()}, std::move(bytes), size, -1});
}

void UpgWriter::append_small() {
  std::stable_sort(small_.begin(), small_.end(), [](const Small& a, const Small& b) {
    return base::size_of(a.dtype) > base::size_of(b.dtype);
  });
  for (Small& small : small_) {
    if (small.spooled_at >= 0) {
      small.bytes.resize(small.size);
      spool_->read_at(static_cast<uint64_t>(small.spooled_at), small.bytes);
    }
    checksums_[small.name] = writer_.append(small.name, small.dtype, small.shape, small.bytes);
    small.bytes = {};
  }
  small_.clear();
  spool_.reset();
}

void UpgWriter::finish(const UpgInfo& info) {
  append_small();
  const std::string matrices = matrices_text(info.matrices);
  const std::string checksums = checksums_text(checksums_);
  const bool version2 = info.version.starts_with("2.");
  UPG_CHECK(version2 || info.version.starts_with("3."));
  UPG_CHECK(version2 || !natural_alignment_);
  std::vector<std::pair<std::string, std::string>> legacy;
  if (version2) legacy = version2_fields(info, writer_.data_bytes());
  std::vector<HeaderField> fields = {{"header_checksum", kNoChecksum},
                                     {"quality", info.quality, kQualityRoom},
                                     {"format", "upg"},
                                     {"version", info.version},
                                     {"profile", info.profile}};
  for (const auto& [key, value] : legacy) fields.push_back({key, value});
  fields.insert(fields.end(), {{"compression", info.compression},
                               {"matrices", matrices},
                               {"checksums", checksums},
                               {"config", info.config},
                               {"generation_config", info.generation_config},
                               {"chat_template", info.chat_template}});
  std::string header = writer_.header(fields);
  seal_header(header);
  writer_.finish(header);
}

}  // namespace upg::format
