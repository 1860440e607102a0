#include "cli/recommend.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/machine.h"
#include "base/text.h"
#include "base/threads.h"

namespace upg::cli {
namespace {

constexpr double kBandwidthSeconds = 1.0;
// Beside the file: cache, scratch and code of a short conversation.
constexpr uint64_t kBesideFile = uint64_t{600} << 20;

struct Machine {
  uint64_t memory = 0;   // free to use
  double bandwidth = 0;  // bytes a second
};

Machine measure_machine(const Common& common) {
  const int threads = common.threads > 0 ? common.threads : base::default_threads();
  return {base::available_memory(), base::measure_read_bandwidth(threads, kBandwidthSeconds)};
}

bool fits(const Recommendation& row, const Machine& machine) {
  return row.file_bytes + kBesideFile <= machine.memory;
}

double tokens_per_second(const Recommendation& row, const Machine& machine) {
  return machine.bandwidth / static_cast<double>(row.bytes_per_token);
}

nlohmann::ordered_json to_json(const Recommendation& row, const Machine& machine) {
  return {{"flags", row.flags},
          {"file_bytes", row.file_bytes},
          {"ratio_f32", row.ratio_f32},
          {"bits_per_weight", row.bits_per_weight},
          {"expected_kl", row.expected_kl},
          {"fits_memory", fits(row, machine)},
          {"tokens_per_second_limit", tokens_per_second(row, machine)}};
}

std::string line_of(const Recommendation& row, const Machine& machine) {
  return fmt::format("{:<16} {:>8.2f} {:>8.3f} {:>10} {:>12.4f} {:>7} {:>14.1f}\n", row.flags,
                     row.ratio_f32, row.bits_per_weight, base::format_bytes(row.file_bytes),
                     row.expected_kl, fits(row, machine) ? "yes" : "no",
                     tokens_per_second(row, machine));
}

}  // namespace

void print_recommendations(const std::string& checkpoint, const CompressOptions& options,
                           const Common& common) {
  std::vector<Recommendation> rows;
  {
    ProgressLine line("recommend");
    rows = recommend(checkpoint, options,
                     [&line](const Progress& progress) { return line(progress); });
  }
  const Machine machine = measure_machine(common);
  if (common.json) {
    nlohmann::ordered_json json;
    json["available_bytes"] = machine.memory;
    json["read_bytes_per_second"] = machine.bandwidth;
    for (const Recommendation& row : rows) json["choices"].push_back(to_json(row, machine));
    print_text(json.dump() + "\n");
    return;
  }
  std::string out = fmt::format("{:<16} {:>8} {:>8} {:>10} {:>12} {:>7} {:>14}\n", "flags", "ratio",
                                "bits", "size", "expected KL", "fits", "tokens/s limit");
  for (const Recommendation& row : rows) out += line_of(row, machine);
  out += fmt::format(
      "KL: divergence from the original's predictions, nats a token, measured one matrix at a time "
      "and added up,\nwithout feedback; calibrated files (the default) lose less. Limit: {:.1f} "
      "GB/s "
      "of memory, each token reads the file once.\n",
      machine.bandwidth / 1e9);
  print_text(out);
}

}  // namespace upg::cli
