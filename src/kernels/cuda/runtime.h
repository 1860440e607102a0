// The CUDA runtime as the rest of the folder uses it: errors thrown, memory and streams owned.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace upg::kernels::cuda {

// Throws Error: kOutOfMemory when the device has no memory left, else kDevice, naming `what`.
void check(cudaError_t status, std::string_view what);
void check_library(int status, std::string_view what);  // of cuBLAS and its like

// Memory of the current device, freed with it.
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(size_t bytes);  // throws what check() throws
  DeviceArray(DeviceArray&& other) noexcept { *this = std::move(other); }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceArray();

  template <class T>
  T* as() const noexcept {
    return static_cast<T*>(data_);
  }
  size_t bytes() const noexcept { return bytes_; }
  // At least so many bytes; what was there is lost. Waits for the device where it grows.
  template <class T>
  T* reserve(int64_t count) {
    const size_t needed = sizeof(T) * static_cast<size_t>(count);
    if (needed > bytes_) {
      *this = DeviceArray();
      *this = DeviceArray(needed);
    }
    return as<T>();
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Host memory that the device reads and writes by itself.
class PinnedArray {
 public:
  PinnedArray() = default;
  explicit PinnedArray(size_t bytes);
  PinnedArray(PinnedArray&& other) noexcept { *this = std::move(other); }
  PinnedArray& operator=(PinnedArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PinnedArray();
  std::byte* data() const noexcept { return static_cast<std::byte*>(data_); }
  size_t bytes() const noexcept { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

class Event {
 public:
  Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event();
  void record(cudaStream_t stream);
  void wait();  // until what was recorded is done; at once when nothing was

 private:
  cudaEvent_t event_ = nullptr;
};

// Queues copies to the device from memory that may change or go afterwards: pieces go through
// pinned memory, filled by several threads while the device fetches the pieces before. Large copies
// back go the same way, and are waited for.
class Uploader {
 public:
  Uploader(cudaStream_t stream, int threads);
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;
  void upload(void* to, const void* from, size_t bytes);
  void download(void* to, const void* from, size_t bytes);

 private:
  struct Impl;
  Impl* impl_;
};

}  // namespace upg::kernels::cuda
