// A GPU beside the backend: random contents for its memory, how fast it reads, time on a stream.
// Errors are thrown as upg::Error.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/runtime.h"
#include "suite.h"

namespace upg::bench {

// Random signs and fractions of 16-bit floats between a half and one (f16) or two (bf16), the same
// every time.
enum class Half { kF16, kBf16 };
void fill_random(const kernels::cuda::DeviceArray& memory, Half type, cudaStream_t stream);

class DeviceStream {
 public:
  DeviceStream();
  ~DeviceStream();
  DeviceStream(const DeviceStream&) = delete;
  DeviceStream& operator=(const DeviceStream&) = delete;
  cudaStream_t get() const noexcept { return stream_; }
  void wait() const;

  // Seconds until everything that `body` queues is done.
  template <class Body>
  double time(const Body& body) const {
    wait();
    const double begin = seconds_now();
    body();
    wait();
    return seconds_now() - begin;
  }

 private:
  cudaStream_t stream_ = nullptr;
};

// A kernel that reads memory and does nothing else.
class DeviceReader {
 public:
  explicit DeviceReader(int64_t bytes);
  double time(int64_t passes) const;  // seconds

 private:
  DeviceStream stream_;
  kernels::cuda::DeviceArray data_;
  kernels::cuda::DeviceArray out_;
  int blocks_ = 0;
};

}  // namespace upg::bench
