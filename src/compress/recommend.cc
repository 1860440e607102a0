// upg::recommend: what each way to compress a checkpoint comes to, from one measurement.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "compress/bit_choice.h"
#include "compress/codec_choice.h"
#include "upg/compress.h"
#include "upg/error.h"

namespace upg {
namespace compression {
namespace {

constexpr double kRatios[] = {12, 10, 8, 6};

// Stored bytes that one generated token reads: all but the embedding table, unless it is the head.
uint64_t bytes_per_token(const Plan& plan) {
  uint64_t bytes = plan.summary.output_bytes;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const bool looked_up = plan.source.specs[i].role == model::Role::kEmbedding;
    if (looked_up && !plan.source.config.tied_head) bytes -= plan.summary.tensors[i].bytes;
  }
  return bytes;
}

Recommendation describe(std::string flags, const Plan& plan) {
  Recommendation row;
  row.flags = std::move(flags);
  row.file_bytes = plan.summary.output_bytes;
  row.ratio_f32 = plan.summary.ratio_f32;
  row.bits_per_weight = plan.summary.bits_per_weight;
  row.expected_kl = plan.summary.expected_kl;
  row.bytes_per_token = bytes_per_token(plan);
  return row;
}

// A profile that chooses nothing, as it is.
Recommendation as_it_is(const std::filesystem::path& checkpoint, CompressOptions options,
                        std::string_view profile) {
  options.profile = profile;
  return describe(fmt::format("--profile {}", profile), make_plan(checkpoint, options));
}

}  // namespace
}  // namespace compression

std::vector<Recommendation> recommend(const std::filesystem::path& checkpoint,
                                      const CompressOptions& options,
                                      const ProgressCallback& progress) {
  using compression::CodecChoice;
  if (options.calibrate == kNoCalibration) {
    throw Error(ErrorCode::kUsage,
                "--recommend: found --calibrate none, allowed is a text to measure on");
  }
  CompressOptions asked = options;
  asked.profile = "10x";
  compression::Plan plan = compression::make_plan(checkpoint, asked);
  CodecChoice choice(plan, asked, CodecChoice::Scope::kFile);
  choice.measure(std::filesystem::temp_directory_path(), progress);
  std::vector<Recommendation> rows;
  for (const double ratio : compression::kRatios) {
    if (!choice.spend_on_file(
            static_cast<uint64_t>(4 * static_cast<double>(plan.summary.parameters) / ratio))) {
      continue;
    }
    rows.push_back(compression::describe(fmt::format("--ratio {}", ratio), plan));
  }
  choice.spend_on_layers(compression::kLayerBits);
  rows.push_back(compression::describe("--profile 10x", plan));
  choice.use("int8");
  rows.push_back(compression::describe("--profile 8bit", plan));
  Recommendation raw = compression::as_it_is(checkpoint, asked, "raw");
  rows.push_back(std::move(raw));
  std::stable_sort(rows.begin(), rows.end(), [](const Recommendation& a, const Recommendation& b) {
    return a.file_bytes < b.file_bytes;
  });
  return rows;
}

}  // namespace upg
