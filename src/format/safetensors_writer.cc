#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/checked.h"
#include "base/text.h"
#include "format/header_text.h"
#include "format/safetensors.h"
#include "upg/error.h"

namespace upg::format {
namespace {

constexpr uint64_t kDataAlignment = 64;
constexpr uint64_t kLengthBytes = 8;

// Throws when a reader would refuse a header of that size.
uint64_t checked_room(uint64_t bytes, const std::filesystem::path& target) {
  if (bytes > kMaxHeaderBytes - kDataAlignment) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: the header needs {} bytes, allowed are {} (LIMIT)",
                            base::printable(target.native()), bytes, kMaxHeaderBytes));
  }
  return SafetensorsWriter::data_offset(bytes) - kLengthBytes;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& target, uint64_t header_bytes)
    : file_(target), target_(target), header_bytes_(checked_room(header_bytes, target)) {}

uint64_t SafetensorsWriter::data_offset(uint64_t header_bytes) {
  return base::round_up(kLengthBytes + header_bytes, kDataAlignment);
}

void SafetensorsWriter::reserve(uint64_t data_bytes) {
  file_.reserve(base::checked_add(data_bytes, kLengthBytes + header_bytes_, "the file's size"));
}

uint64_t SafetensorsWriter::append(std::string_view name, base::DType dtype,
                                   std::span<const int64_t> shape,
                                   std::span<const std::byte> bytes) {
  uint64_t expected = base::size_of(dtype);
  for (const int64_t extent : shape) expected *= static_cast<uint64_t>(extent);
  UPG_CHECK(expected == bytes.size());
  file_.write_at(kLengthBytes + header_bytes_ + data_bytes_, bytes);
  written_.push_back({std::string(name),
                      dtype,
                      {shape.begin(), shape.end()},
                      data_bytes_,
                      data_bytes_ + bytes.size()});
  data_bytes_ += bytes.size();
  return base::xxh3(bytes);
}

std::string SafetensorsWriter::header(
    const std::map<std::string, std::string, std::less<>>& metadata) const {
  std::vector<HeaderField> fields;
  for (const auto& [key, value] : metadata) fields.push_back({key, value});
  return header(fields);
}

std::string SafetensorsWriter::header(std::span<const HeaderField> metadata) const {
  std::vector<HeaderTensor> tensors;
  tensors.reserve(written_.size());
  for (const Written& tensor : written_) {
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.begin, tensor.end});
  }
  return header_text(metadata, tensors, header_bytes_, target_.native());
}

void SafetensorsWriter::finish(std::string_view header) {
  UPG_CHECK(header.size() == header_bytes_);
  std::vector<std::string_view> names;
  for (const Written& tensor : written_) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  UPG_CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
  std::array<std::byte, kLengthBytes> length;
  std::memcpy(length.data(), &header_bytes_, kLengthBytes);
  file_.write_at(0, length);
  file_.write_at(kLengthBytes, std::as_bytes(std::span(header)));
  file_.truncate(kLengthBytes + header_bytes_ + data_bytes_);
  file_.commit();
}

}  // namespace upg::format
