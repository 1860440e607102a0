// upg doctor: what this machine has, and which backend would be chosen and why.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/machine.h"
#include "base/text.h"
#include "base/threads.h"
#include "cli/cli.h"
#include "kernels/backend.h"
#include "kernels/gpus.h"

namespace upg::cli {
namespace {

constexpr double kBandwidthSeconds = 1.0;  // twice: one thread, all threads
constexpr double kPhi4TokenBytes = 5.6e9;  // a 10x file of Phi-4 less its embedding table

struct Findings {
  std::string cpu;
  int logical_cpus = 0;
  int threads = 0;
  uint64_t memory = 0;
  uint64_t available = 0;
  double bandwidth_one = 0;  // bytes a second
  double bandwidth_all = 0;
  std::string chosen;
  std::vector<kernels::GpuFacts> gpus;
};

Findings examine(const Common& common) {
  Findings found;
  found.cpu = base::cpu_model();
  found.logical_cpus = base::logical_cpus();
  found.threads = common.threads > 0 ? common.threads : base::default_threads();
  found.memory = base::total_memory();
  found.available = base::available_memory();
  const kernels::BackendRow& row = kernels::select_backend({});
  found.chosen = row.name;
  found.gpus = kernels::measure_gpus();
  found.bandwidth_one = base::measure_read_bandwidth(1, kBandwidthSeconds);
  found.bandwidth_all = found.threads == 1
                            ? found.bandwidth_one
                            : base::measure_read_bandwidth(found.threads, kBandwidthSeconds);
  return found;
}

std::string describe_row(const kernels::BackendRow& row, std::string_view chosen) {
  const bool here = row.supported();
  const char* state = row.name == chosen ? "chosen" : here ? "works here" : "not here";
  return fmt::format("  {:<14}{:<11}{}\n", row.name, state,
                     row.needs.empty() ? "any processor" : fmt::format("needs {}", row.needs));
}

std::string describe_gpu(const kernels::GpuFacts& gpu) {
  return fmt::format(
      "gpu         {} {}, {}, {} multiprocessors, driver {}\n"
      "            {}, {} free; {:.0f} GB/s reading (measured)\n",
      gpu.device, gpu.name, gpu.architecture, gpu.multiprocessors, gpu.driver,
      base::format_bytes(gpu.memory), base::format_bytes(gpu.available),
      gpu.read_bytes_per_second / 1e9);
}

// What single tokens are limited by: the memory of what was chosen.
double read_bandwidth(const Findings& found) {
  const bool on_gpu = !found.gpus.empty() && found.chosen == "cuda";
  return on_gpu ? found.gpus[0].read_bytes_per_second : found.bandwidth_all;
}

void print_json(const Findings& found) {
  nlohmann::ordered_json json;
  json["cpu"] = found.cpu;
  json["logical_cpus"] = found.logical_cpus;
  json["threads"] = found.threads;
  json["memory_bytes"] = found.memory;
  json["available_bytes"] = found.available;
  json["read_bytes_per_second_one_thread"] = found.bandwidth_one;
  json["read_bytes_per_second"] = found.bandwidth_all;
  json["gpus"] = nlohmann::ordered_json::array();
  for (const kernels::GpuFacts& gpu : found.gpus) {
    json["gpus"].push_back({{"device", gpu.device},
                            {"name", gpu.name},
                            {"architecture", gpu.architecture},
                            {"driver", gpu.driver},
                            {"multiprocessors", gpu.multiprocessors},
                            {"memory_bytes", gpu.memory},
                            {"available_bytes", gpu.available},
                            {"read_bytes_per_second", gpu.read_bytes_per_second}});
  }
  json["backend"] = found.chosen;
  for (const kernels::BackendRow& row : kernels::all_backends()) {
    json["backends"].push_back(
        {{"name", row.name}, {"supported", row.supported()}, {"needs", row.needs}});
  }
  print_text(json.dump(2) + "\n");
}

void print_findings(const Findings& found) {
  std::string out = fmt::format("processor   {}\n", found.cpu);
  out += fmt::format("threads     {} would be used; the system shows {} processors\n",
                     found.threads, found.logical_cpus);
  out += fmt::format("memory      {}, {} free to use\n", base::format_bytes(found.memory),
                     base::format_bytes(found.available));
  out += fmt::format(
      "bandwidth   {:.1f} GB/s reading with {} threads, {:.1f} GB/s with one (measured)\n",
      found.bandwidth_all / 1e9, found.threads, found.bandwidth_one / 1e9);
  for (const kernels::GpuFacts& gpu : found.gpus) out += describe_gpu(gpu);
  out +=
      "backends    fastest first; the first that works here is chosen, UPG_CPU=NAME forces one\n";
  for (const kernels::BackendRow& row : kernels::all_backends())
    out += describe_row(row, found.chosen);
  out += fmt::format(
      "limit       a token reads every weight once: Phi-4 at ten to one ({:.1f} GB a token) can "
      "reach\n"
      "            {:.1f} tokens a second here, and needs about 6.5 GB of memory{}\n",
      kPhi4TokenBytes / 1e9, read_bandwidth(found) / kPhi4TokenBytes,
      found.available < 6'500'000'000u ? " (more than is free now)" : "");
  print_text(out);
}

}  // namespace

void add_doctor(CLI::App& app, Common& common) {
  add_verb(app, "doctor", "Say what this machine has and what upg would use", common, [&common] {
    const Findings found = examine(common);
    if (common.json) {
      print_json(found);
    } else {
      print_findings(found);
    }
  });
}

}  // namespace upg::cli
