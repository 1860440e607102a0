// What `upg doctor` says about a GPU.
#include <fmt/format.h>

#include "kernels/cuda/launch.h"
#include "kernels/gpus.h"

namespace upg::kernels {
namespace cuda {
namespace {

GpuFacts facts_of(int device, int driver) {
  GpuFacts facts;
  cudaDeviceProp properties;
  if (cudaSetDevice(device) != cudaSuccess) return facts;
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return facts;
  size_t free = 0;
  size_t total = 0;
  cudaMemGetInfo(&free, &total);
  facts.device = fmt::format("cuda:{}", device);
  facts.name = properties.name;
  facts.architecture = fmt::format("compute capability {}.{}", properties.major, properties.minor);
  facts.driver = fmt::format("CUDA {}.{}", driver / 1000, driver % 1000 / 10);
  facts.multiprocessors = properties.multiProcessorCount;
  facts.memory = total;
  facts.available = free;
  facts.read_bytes_per_second = measure_read(facts.multiprocessors, free);
  return facts;
}

}  // namespace
}  // namespace cuda

std::vector<GpuFacts> measure_gpus() {
  std::vector<GpuFacts> all;
  int count = 0;
  int driver = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
  cudaDriverGetVersion(&driver);
  cudaGetLastError();
  for (int device = 0; device < count; ++device) all.push_back(cuda::facts_of(device, driver));
  return all;
}

}  // namespace upg::kernels
