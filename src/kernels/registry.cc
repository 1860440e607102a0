// The table of backends, fastest first: a GPU's row where the build has one, a row for each CPU
// table, reference last.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"
#include "base/env.h"
#include "kernels/backend.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu_backend.h"
#include "kernels/cuda/rows.h"
#include "kernels/reference/ops.h"
#include "upg/error.h"

namespace upg::kernels {
namespace {

constexpr std::string_view kCpu = "cpu";
constexpr std::string_view kReference = "reference";

// Devices of the product, some of which a build may lack.
constexpr std::array<std::string_view, 2> kGpus = {"cuda", "vulkan"};

// create_backend() puts the row's name into options.cpu.
std::unique_ptr<Backend> create_cpu(const BackendOptions& options) {
  for (const CpuOps* ops : cpu_tables()) {
    if (ops->name == options.cpu) return std::make_unique<CpuBackend>(*ops, options);
  }
  UPG_CHECK(options.cpu == kReference);
  return std::make_unique<CpuBackend>(reference::table, options);
}

std::vector<BackendRow> make_rows() {
  std::vector<BackendRow> rows(cuda::rows().begin(), cuda::rows().end());
  for (const CpuOps* ops : cpu_tables()) {
    rows.push_back({ops->name, kCpu, ops->needs, ops->supported, create_cpu});
  }
  const CpuOps& plain = reference::table;
  rows.push_back({plain.name, kReference, plain.needs, plain.supported, create_cpu});
  return rows;
}

std::string row_names() {
  std::string names;
  for (const BackendRow& row : all_backends()) {
    if (!names.empty()) names += ", ";
    names += row.name;
  }
  return names;
}

// `source`: the option or variable that the name comes from.
const BackendRow& find_row(std::string_view name, std::string_view source) {
  for (const BackendRow& row : all_backends()) {
    if (row.name != name) continue;
    if (!row.supported()) {
      throw Error(ErrorCode::kDevice,
                  fmt::format("{}: found {}, which needs {}; this machine lacks it", source, name,
                              row.needs));
    }
    return row;
  }
  throw Error(ErrorCode::kUsage,
              fmt::format("{}: found \"{}\", allowed {}", source, name, row_names()));
}

const BackendRow& best_row(std::string_view device) {
  for (const BackendRow& row : all_backends()) {
    if (row.supported() && (device == "auto" || row.device == device)) return row;
  }
  UPG_CHECK(device == kCpu);  // reference runs everywhere
  return all_backends().back();
}

// "cuda:1" is of the kind "cuda".
std::string_view kind_of(std::string_view device) { return device.substr(0, device.find(':')); }

// The row of a GPU that was asked for by name; whether that very device is there its create() says.
const BackendRow& gpu_row(std::string_view device) {
  for (const BackendRow& row : all_backends()) {
    if (row.device == kind_of(device)) return row;
  }
  throw Error(ErrorCode::kDevice,
              fmt::format("device: found {}, which is not built into this upg", device));
}

bool is_gpu(std::string_view device) {
  return std::find(kGpus.begin(), kGpus.end(), kind_of(device)) != kGpus.end();
}

void check_device(std::string_view device) {
  if (device == "auto" || device == kCpu || device == kReference) return;
  throw Error(ErrorCode::kUsage, fmt::format("device: found \"{}\", allowed auto, cpu, reference, "
                                             "cuda, cuda:N",
                                             device));
}

}  // namespace

std::span<const BackendRow> all_backends() {
  static const std::vector<BackendRow> rows = make_rows();
  return rows;
}

const BackendRow& select_backend(const BackendOptions& options) {
  if (is_gpu(options.device)) return gpu_row(options.device);
  check_device(options.device);
  if (options.device == kReference) return find_row(kReference, "device");
  if (!options.cpu.empty()) return find_row(options.cpu, "cpu");
  if (const auto name = base::environment("UPG_CPU"); name && !name->empty()) {
    return find_row(*name, "UPG_CPU");
  }
  return best_row(options.device);
}

std::unique_ptr<Backend> create_backend(const BackendOptions& options) {
  const BackendRow& row = select_backend(options);
  BackendOptions chosen = options;
  chosen.cpu = row.name;
  return row.create(chosen);
}

}  // namespace upg::kernels
