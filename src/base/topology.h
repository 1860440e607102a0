// Which processors this process may run on, and how they share memory.
#pragma once

#include <filesystem>
#include <vector>

namespace upg::base {

struct Topology {
  struct Node {
    int id = 0;             // the system's number of the NUMA node
    std::vector<int> cpus;  // that may be used, at least one
  };
  std::vector<Node> nodes;  // at least one
  int cores = 1;            // physical ones: the hyper-threads of a core count once

  // Which of `nodes` thread `thread` of `threads` belongs to: threads are dealt out in order, so
  // that neighbours share a node.
  size_t node_of(int thread, int threads) const noexcept;
};

// The processors of the affinity mask. Thread-safe.
Topology topology();
// The same for any set of them; `system` is where sysfs keeps "cpu" and "node".
Topology read_topology(const std::filesystem::path& system, const std::vector<int>& cpus);

// The processors' worth of time that the container grants (cgroup 1 and 2), rounded, at least 1; a
// large number when it sets no limit.
int quota_cpus() noexcept;

// The calling thread runs on these processors only. Best effort.
void pin_to(const std::vector<int>& cpus) noexcept;

}  // namespace upg::base
