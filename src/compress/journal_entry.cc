#include "compress/journal_entry.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <charconv>
#include <map>
#include <string>

#include "base/file.h"
#include "base/text.h"
#include "format/safetensors.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using Metadata = std::map<std::string, std::string, std::less<>>;

constexpr uint64_t kHeaderRoom = 4096;
constexpr std::string_view kPrefix = "part.";  // of the tensors' names: a suffix may be empty

// The sums of a matrix, kept to the bit.
struct Sum {
  std::string_view name;
  double (*get)(const EncodedMatrix&);
  void (*set)(EncodedMatrix&, double);
};
constexpr std::array kSums = {Sum{"error", [](const EncodedMatrix& m) { return m.sums.error; },
                                  [](EncodedMatrix& m, double value) { m.sums.error = value; }},
                              Sum{"weight", [](const EncodedMatrix& m) { return m.sums.weight; },
                                  [](EncodedMatrix& m, double value) { m.sums.weight = value; }},
                              Sum{"loss", [](const EncodedMatrix& m) { return m.loss; },
                                  [](EncodedMatrix& m, double value) { m.loss = value; }},
                              Sum{"power", [](const EncodedMatrix& m) { return m.power; },
                                  [](EncodedMatrix& m, double value) { m.power = value; }}};

// Of everything but itself.
std::string checksum_of(const Metadata& metadata, const EncodedMatrix& matrix) {
  base::Xxh3 hash;
  const auto add = [&hash](std::string_view text) { hash.add(std::as_bytes(std::span(text))); };
  for (const auto& [key, value] : metadata) {
    if (key != "checksum") add(fmt::format("{}={}\n", key, value));
  }
  for (const EncodedPart& part : matrix.parts()) {
    add(fmt::format("{} {} {}\n", part.spec.suffix, base::name_of(part.spec.dtype),
                    base::shape_text(part.spec.shape)));
    hash.add(part.bytes);
  }
  return base::hex64(hash.value());
}

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& what) {
  throw Error(ErrorCode::kInvalidData, fmt::format("{}: {}", base::printable(file.native()), what));
}

double parse_bits(const std::filesystem::path& file, const std::string& text) {
  uint64_t bits = 0;
  const char* end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, bits, 16);
  if (error != std::errc() || after != end) {
    refuse(file, fmt::format("found \"{}\", allowed are 16 digits (FIELD)", base::printable(text)));
  }
  return std::bit_cast<double>(bits);
}

EncodedMatrix parts_of(const format::SafetensorsFile& stored) {
  std::vector<codec::Part> parts;
  for (const format::TensorEntry& entry : stored.tensors()) {
    codec::Part part;
    part.spec.suffix = entry.name.substr(std::min(kPrefix.size(), entry.name.size()));
    part.spec.dtype = entry.view.dtype;
    part.spec.shape = entry.view.shape;
    part.bytes.assign(entry.view.bytes.begin(), entry.view.bytes.end());
    parts.push_back(std::move(part));
  }
  return EncodedMatrix(std::move(parts));
}

}  // namespace

void write_journal_entry(const std::filesystem::path& file, std::string_view job,
                         std::string_view tensor, const EncodedMatrix& matrix) {
  Metadata metadata = {{"job", std::string(job)}, {"tensor", std::string(tensor)}};
  for (const Sum& sum : kSums) {
    metadata.emplace(sum.name, base::hex64(std::bit_cast<uint64_t>(sum.get(matrix))));
  }
  metadata.emplace("checksum", checksum_of(metadata, matrix));
  format::SafetensorsWriter writer(file, kHeaderRoom + 4 * tensor.size());
  for (const EncodedPart& part : matrix.parts()) {
    writer.append(fmt::format("{}{}", kPrefix, part.spec.suffix), part.spec.dtype, part.spec.shape,
                  part.bytes);
  }
  writer.finish(writer.header(metadata));
}

EncodedMatrix read_journal_entry(const std::filesystem::path& file, std::string_view job,
                                 std::string_view tensor) {
  const format::SafetensorsFile stored(file);
  EncodedMatrix matrix = parts_of(stored);
  const Metadata& metadata = stored.metadata();
  const auto field = [&](std::string_view name) -> const std::string& {
    const auto found = metadata.find(name);
    if (found == metadata.end()) refuse(file, fmt::format("{} is missing (MISSING)", name));
    return found->second;
  };
  if (field("job") != job || field("tensor") != tensor) {
    refuse(file, fmt::format("found tensor {} of job {}, allowed is {} of {} (MISMATCH)",
                             base::printable(field("tensor")), base::printable(field("job")),
                             tensor, job));
  }
  const std::string sum = checksum_of(metadata, matrix);
  if (field("checksum") != sum) {
    refuse(file, fmt::format("found checksum {}, allowed is {} (SUM)", sum,
                             base::printable(field("checksum"))));
  }
  for (const Sum& one : kSums) one.set(matrix, parse_bits(file, field(one.name)));
  return matrix;
}

}  // namespace upg::compression
