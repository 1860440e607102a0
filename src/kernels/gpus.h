// The GPUs of this machine, for people: which they are, what memory they have and how fast it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace upg::kernels {

struct GpuFacts {
  std::string device;        // as --device takes it: "cuda:0"
  std::string name;          // "NVIDIA H200"
  std::string architecture;  // "compute capability 9.0"
  std::string driver;        // "CUDA 13.0"
  int multiprocessors = 0;
  uint64_t memory = 0;               // bytes
  uint64_t available = 0;            // of them
  double read_bytes_per_second = 0;  // by a kernel that does nothing else; 0: not measured
};

// Those of backends that this build has and this machine's drivers offer. Takes a moment.
std::vector<GpuFacts> measure_gpus();

}  // namespace upg::kernels
