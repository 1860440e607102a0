#include "base/topology.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>

namespace upg::base {
namespace {

constexpr int kNoLimit = 1 << 20;

std::vector<int> allowed_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof(mask), &mask) != 0) return {0};
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
  }
  return cpus;
}

// "0-3,8,10-11" of a sysfs file; empty when there is no such file.
std::vector<int> read_list(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string range;
  std::vector<int> numbers;
  while (std::getline(in, range, ',')) {
    std::istringstream text(range);
    int first = 0;
    int last = 0;
    char dash = 0;
    if (!(text >> first)) break;
    if (!(text >> dash >> last)) last = first;
    for (int i = first; i <= last && i - first < CPU_SETSIZE; ++i) numbers.push_back(i);
  }
  return numbers;
}

int count_cores(const std::filesystem::path& system, const std::vector<int>& cpus) {
  std::set<std::pair<int, int>> cores;
  for (const int cpu : cpus) {
    const auto folder = system / "cpu" / ("cpu" + std::to_string(cpu)) / "topology";
    int package = 0;
    int core = cpu;
    std::ifstream(folder / "physical_package_id") >> package;
    if (!(std::ifstream(folder / "core_id") >> core)) core = cpu;
    cores.emplace(package, core);
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

// quota / period, where there is a quota.
std::optional<double> share(std::istream& in) {
  double quota = 0;
  double period = 0;
  if (!(in >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
  return quota / period;
}

}  // namespace

size_t Topology::node_of(int thread, int threads) const noexcept {
  return static_cast<size_t>(thread) * nodes.size() / static_cast<size_t>(threads);
}

Topology topology() { return read_topology("/sys/devices/system", allowed_cpus()); }

Topology read_topology(const std::filesystem::path& system, const std::vector<int>& cpus) {
  Topology topology;
  topology.cores = count_cores(system, cpus);
  for (const int id : read_list(system / "node" / "online")) {
    Topology::Node node{id, {}};
    const std::vector<int> here =
        read_list(system / "node" / ("node" + std::to_string(id)) / "cpulist");
    std::copy_if(here.begin(), here.end(), std::back_inserter(node.cpus),
                 [&](int cpu) { return std::find(cpus.begin(), cpus.end(), cpu) != cpus.end(); });
    if (!node.cpus.empty()) topology.nodes.push_back(std::move(node));
  }
  if (topology.nodes.empty()) topology.nodes.push_back({0, cpus});
  return topology;
}

int quota_cpus() noexcept {
  std::ifstream second("/sys/fs/cgroup/cpu.max");
  std::optional<double> cpus = share(second);
  if (!cpus) {
    std::stringstream first;
    first << std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").rdbuf() << ' '
          << std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us").rdbuf();
    cpus = share(first);
  }
  return cpus ? std::max(1, static_cast<int>(std::lround(*cpus))) : kNoLimit;
}

void pin_to(const std::vector<int>& cpus) noexcept {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const int cpu : cpus) {
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &mask);
  }
  ::sched_setaffinity(0, sizeof(mask), &mask);
}

}  // namespace upg::base
