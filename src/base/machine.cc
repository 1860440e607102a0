#include "base/machine.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "base/threads.h"

namespace upg::base {
namespace {

using Clock = std::chrono::steady_clock;

// The number after `key` in a file of "key: number kB" lines, in bytes; 0 when absent.
uint64_t kilobytes_of(const char* file, const std::string& key) {
  std::ifstream in(file);
  std::string word;
  while (in >> word) {
    uint64_t value = 0;
    if (word == key && in >> value) return value * 1024;
  }
  return 0;
}

// A number in a one-line file, or the largest when it says "max" or is missing.
uint64_t limit_of(const char* file) {
  std::ifstream in(file);
  uint64_t value = 0;
  return in >> value ? value : UINT64_MAX;
}

typedef uint64_t Words __attribute__((vector_size(64)));

// Two streams far apart: one alone does not reach the memory's limit.
uint64_t read_all(const std::byte* data, size_t bytes) noexcept {
  const size_t half = bytes / 2 / 512 * 512;
  Words sum[4] = {};
  for (size_t i = 0; i < half; i += 256) {
    for (int j = 0; j < 4; ++j) {
      Words a;
      Words b;
      std::memcpy(&a, data + i + 64 * static_cast<size_t>(j), 64);
      std::memcpy(&b, data + half + i + 64 * static_cast<size_t>(j), 64);
      __builtin_prefetch(data + i + 64 * static_cast<size_t>(j) + 4096);
      __builtin_prefetch(data + half + i + 64 * static_cast<size_t>(j) + 4096);
      sum[j] ^= a + b;
    }
  }
  const Words all = sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
  return all[0] ^ all[1] ^ all[2] ^ all[3] ^ all[4] ^ all[5] ^ all[6] ^ all[7];
}

}  // namespace

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

int logical_cpus() noexcept { return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)); }

uint64_t total_memory() noexcept {
  return std::min(kilobytes_of("/proc/meminfo", "MemTotal:"),
                  limit_of("/sys/fs/cgroup/memory.max"));
}

uint64_t available_memory() noexcept {
  const uint64_t system = kilobytes_of("/proc/meminfo", "MemAvailable:");
  const uint64_t limit = limit_of("/sys/fs/cgroup/memory.max");
  if (limit == UINT64_MAX) return system;
  const uint64_t used = limit_of("/sys/fs/cgroup/memory.current");
  return std::min(system, used < limit ? limit - used : 0);
}

uint64_t peak_resident_bytes() noexcept {
  // Not getrusage alone: it counts what the parent had resident when it forked this process.
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    uint64_t kilobytes = 0;
    if (line.starts_with("VmHWM:") && std::istringstream(line.substr(6)) >> kilobytes) {
      return kilobytes * 1024;
    }
  }
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

double measure_read_bandwidth(int threads, double seconds) {
  constexpr size_t kTotalBytes = size_t{512} << 20;
  const size_t share = std::max<size_t>(kTotalBytes / static_cast<size_t>(threads), 1 << 20);
  ThreadTeam team(threads);
  std::vector<std::unique_ptr<std::byte[]>> buffers(static_cast<size_t>(threads));
  team.run([&](int thread) {  // touched by the thread that reads it
    buffers[static_cast<size_t>(thread)] = std::make_unique_for_overwrite<std::byte[]>(share);
    std::memset(buffers[static_cast<size_t>(thread)].get(), thread + 1, share);
  });
  std::atomic<uint64_t> sink{0};
  double best = 0;
  const Clock::time_point start = Clock::now();
  do {
    const Clock::time_point begin = Clock::now();
    team.run(
        [&](int thread) { sink ^= read_all(buffers[static_cast<size_t>(thread)].get(), share); });
    const double took = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::max(best, static_cast<double>(share) * threads / took);
  } while (std::chrono::duration<double>(Clock::now() - start).count() < seconds);
  return best;
}

}  // namespace upg::base
