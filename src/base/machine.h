// What this machine has: processor, memory, the bandwidth of its memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace upg::base {

std::string cpu_model();  // "AMD EPYC", as the system names it
int logical_cpus() noexcept;

// Memory that this process may still use, in bytes: what the system says is available, less where
// the container's limit is tighter.
uint64_t available_memory() noexcept;
uint64_t total_memory() noexcept;
uint64_t resident_bytes() noexcept;       // of this process now
uint64_t peak_resident_bytes() noexcept;  // of this process so far

// Bytes a second that `threads` threads read from memory with plain vector loads, in buffers well
// beyond the caches: the best of one to eight streams a thread. Other programs, and on a virtual
// machine other machines, share the memory: measure close to what is compared.
class ReadProbe {
 public:
  explicit ReadProbe(int threads);
  ~ReadProbe();
  ReadProbe(const ReadProbe&) = delete;
  ReadProbe& operator=(const ReadProbe&) = delete;

  // The best of the passes in about `seconds`, at least one of each number of streams.
  double measure(double seconds);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

double measure_read_bandwidth(int threads, double seconds);  // with a probe of its own

}  // namespace upg::base
