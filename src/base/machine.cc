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

#include "base/memory.h"
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

// Adds up `bytes` in kStreams places far apart: one stream alone does not reach the memory's limit,
// and how many do depends on the machine.
template <int kStreams>
uint64_t read_all(const std::byte* data, size_t bytes) noexcept {
  constexpr size_t kStep = 256;
  const size_t part = bytes / kStreams / kStep * kStep;
  Words sum[kStreams] = {};
  for (size_t i = 0; i < part; i += kStep) {
    for (size_t s = 0; s < kStreams; ++s) {
      for (size_t j = 0; j < kStep; j += 64) {
        const std::byte* at = data + s * part + i + j;
        Words words;
        std::memcpy(&words, at, 64);
        __builtin_prefetch(at + 2048);
        sum[s] += words;
      }
    }
  }
  uint64_t total = 0;
  for (const Words& words : sum) {
    for (int lane = 0; lane < 8; ++lane) total += words[lane];
  }
  return total;
}

using Reader = uint64_t (*)(const std::byte*, size_t) noexcept;
constexpr Reader kReaders[] = {read_all<1>, read_all<2>, read_all<4>, read_all<8>};

// A line of /proc/self/status in bytes; 0: there is none.
uint64_t status_bytes(std::string_view name) noexcept {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    uint64_t kilobytes = 0;
    if (line.starts_with(name) && std::istringstream(line.substr(name.size())) >> kilobytes) {
      return kilobytes * 1024;
    }
  }
  return 0;
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

uint64_t resident_bytes() noexcept { return status_bytes("VmRSS:"); }

uint64_t peak_resident_bytes() noexcept {
  // Not getrusage alone: it counts what the parent had resident when it forked this process.
  if (const uint64_t peak = status_bytes("VmHWM:"); peak > 0) return peak;
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

struct ReadProbe::Impl {
  static constexpr size_t kTotalBytes = size_t{512} << 20;

  explicit Impl(int threads)
      : share(std::max<size_t>(kTotalBytes / static_cast<size_t>(threads), 1 << 20)),
        team(threads),
        buffers(static_cast<size_t>(threads)) {
    team.run([&](int thread) {  // touched by the thread that reads it
      std::unique_ptr<std::byte[]>& buffer = buffers[static_cast<size_t>(thread)];
      buffer = std::make_unique_for_overwrite<std::byte[]>(share);
      advise_huge_pages({buffer.get(), share});
      std::memset(buffer.get(), thread + 1, share);
    });
  }

  double pass(Reader read) {
    const Clock::time_point begin = Clock::now();
    team.run([&](int thread) { sink ^= read(buffers[static_cast<size_t>(thread)].get(), share); });
    const double took = std::chrono::duration<double>(Clock::now() - begin).count();
    return static_cast<double>(share) * team.size() / took;
  }

  const size_t share;  // bytes a thread
  ThreadTeam team;
  std::vector<std::unique_ptr<std::byte[]>> buffers;
  std::atomic<uint64_t> sink{0};
};

ReadProbe::ReadProbe(int threads) : impl_(std::make_unique<Impl>(threads)) {}
ReadProbe::~ReadProbe() = default;

double ReadProbe::measure(double seconds) {
  double best = 0;
  const Clock::time_point start = Clock::now();
  do {
    for (const Reader read : kReaders) best = std::max(best, impl_->pass(read));
  } while (std::chrono::duration<double>(Clock::now() - start).count() < seconds);
  return best;
}

double measure_read_bandwidth(int threads, double seconds) {
  return ReadProbe(threads).measure(seconds);
}

}  // namespace upg::base
