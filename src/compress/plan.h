// What a compression will do, worked out from the headers alone: codecs, exact sizes, memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/profiles.h"
#include "compress/source_model.h"
#include "format/upg_file.h"
#include "upg/compress.h"

namespace upg::compression {

// Where a part of a matrix goes in the file (format::UpgWriter).
bool is_large(const codec::PartSpec& part, bool version2) noexcept;
// The tensor of a part.
std::string part_name(const format::MatrixRecord& record, std::string_view suffix, bool version2);

struct Plan {
  explicit Plan(SourceModel model) : source(std::move(model)) {}

  SourceModel source;
  Profile profile;
  std::vector<Storage> storage;  // one a spec
  std::vector<size_t> chosen;    // specs whose codec choose_codecs() decided on
  std::vector<double> kl;        // one a spec: what choose_codecs() expects of it; may be empty
  CompressPlan summary;          // but for seconds_estimate
  uint64_t data_bytes = 0;       // of all tensors of the file
  uint64_t header_estimate = 0;  // what UpgWriter asks for
  bool activations_in_memory = true;  // of a calibration; else in a file
  int threads = 1;

  bool version2() const noexcept { return profile.version.starts_with("2."); }
  // The matrices in checkpoint order; record i of the matrices is not spec i of the source.
  std::vector<format::MatrixRecord> records() const;
  // What the file says of itself, but for `compression`.
  format::UpgInfo info() const;
};

// Brings the summary, the sizes and the needs up to date with the storage.
void summarise(Plan& plan, const CompressOptions& options);

// Throws Error as open_source() and choose_storage() do.
Plan make_plan(const std::filesystem::path& checkpoint, const CompressOptions& options);

// Bytes of all matrices and their weights, for averages.
struct BitSum {
  double bits = 0;
  double weights = 0;
  void add(double bits_per_weight, double count) noexcept {
    bits += bits_per_weight * count;
    weights += count;
  }
  double average() const noexcept { return weights > 0 ? bits / weights : 0; }
};

}  // namespace upg::compression
