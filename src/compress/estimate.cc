#include "compress/estimate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <utility>
#include <vector>

#include "base/threads.h"
#include "codec/matrix.h"
#include "codec/rotation.h"
#include "compress/bit_choice.h"
#include "compress/calibration.h"
#include "compress/calibration_cost.h"
#include "compress/codec_choice.h"
#include "compress/encode.h"

namespace upg::compression {
namespace {

constexpr double kDiskBytesPerSecond = 500e6;  // assumed: a plain SSD
constexpr int64_t kCols = 4096;
constexpr int64_t kRowsPerThread = 64;

struct Cost {
  double a_matrix = 0;  // seconds
  double a_weight = 0;
};

Cost measure_cost(const Storage& storage, base::ThreadTeam& team) {
  const int64_t rows = kRowsPerThread * team.size();
  const std::vector<float> values = gaussian_like(rows * kCols);
  const base::TensorView view = {
      base::DType::kF32, {rows, kCols}, std::as_bytes(std::span(values))};
  const SourceMatrix source = {
      .where = "estimate", .view = &view, .rows = rows, .cols = kCols, .release = {}};
  const std::vector<uint8_t> signs = codec::make_signs("estimate", kCols);
  const EncodedMatrix encoded =
      encode_matrix(source, storage, storage.rotated ? signs.data() : nullptr, team, {});
  return {encoded.train_seconds, encoded.rows_seconds / static_cast<double>(rows * kCols)};
}

}  // namespace

std::vector<TensorCost> estimate_costs(const Plan& plan, const CompressOptions& options) {
  base::ThreadTeam team(plan.threads);
  std::vector<TensorCost> out(plan.storage.size());
  std::vector<CalibrationCost> calibrated(plan.storage.size());
  if (calibrates(plan, options)) calibrated = calibration_costs(plan, options);
  std::map<std::pair<const codec::Codec*, bool>, Cost> costs;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const Storage& storage = plan.storage[i];
    const model::TensorSpec& spec = plan.source.specs[i];
    out[i].forward = calibrated[i].forward;
    out[i].moments = calibrated[i].moments;
    out[i].coding = static_cast<double>(plan.source.entries[i]->view.bytes.size() +
                                        plan.summary.tensors[i].bytes) /
                        kDiskBytesPerSecond +
                    calibrated[i].coding;
    if (!storage.is_matrix() || calibrated[i].coding > 0) continue;
    const auto [found, fresh] = costs.try_emplace({storage.codec, storage.rotated});
    if (fresh) found->second = measure_cost(storage, team);
    out[i].coding += found->second.a_matrix + found->second.a_weight *
                                                  static_cast<double>(spec.rows) *
                                                  static_cast<double>(spec.cols);
  }
  return out;
}

double estimate_seconds(const Plan& plan, const CompressOptions& options) {
  double seconds = 0;
  for (const TensorCost& cost : estimate_costs(plan, options)) seconds += cost.total();
  std::error_code ignored;
  const bool measures = calibrates(plan, options) && chooses_codecs(plan, options) &&
                        !std::filesystem::exists(options.plan_file, ignored);
  if (measures) seconds += layer_seconds(plan, token_layers_to_measure(plan, options));
  return seconds;
}

// The sum of four uniform numbers of a fixed generator.
std::vector<float> gaussian_like(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  uint64_t state = 1;
  for (float& value : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    float sum = -2.0f;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(state >> (16 + 12 * i) & 4095) / 4096;
    value = sum;
  }
  return values;
}

}  // namespace upg::compression
