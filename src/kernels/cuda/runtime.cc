#include "kernels/cuda/runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "base/threads.h"
#include "upg/error.h"

namespace upg::kernels::cuda {
namespace {

constexpr size_t kPiece = size_t{4} << 20;
constexpr size_t kPieces = 16;  // of pinned memory: half of them are filled, half fetched
constexpr size_t kSmall = size_t{1} << 16;

}  // namespace

void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // forget it where it can be forgotten
  const bool memory = status == cudaErrorMemoryAllocation;
  throw Error(memory ? ErrorCode::kOutOfMemory : ErrorCode::kDevice,
              fmt::format("CUDA: {}: {}", what, cudaGetErrorString(status)));
}

void check_library(int status, std::string_view what) {
  if (status == 0) return;
  throw Error(ErrorCode::kDevice, fmt::format("CUDA: {}: status {}", what, status));
}

DeviceArray::DeviceArray(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const cudaError_t status = cudaMalloc(&data_, bytes);
  if (status != cudaSuccess) check(status, fmt::format("cannot allocate {} bytes", bytes));
}

DeviceArray::~DeviceArray() {
  if (data_ != nullptr) cudaFree(data_);
}

PinnedArray::PinnedArray(size_t bytes) : bytes_(bytes) {
  check(cudaMallocHost(&data_, bytes), "cannot allocate pinned memory");
}

PinnedArray::~PinnedArray() {
  if (data_ != nullptr) cudaFreeHost(data_);
}

Event::Event() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cannot create an event");
}
Event::~Event() { cudaEventDestroy(event_); }
void Event::record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "event"); }
void Event::wait() { check(cudaEventSynchronize(event_), "waiting for the device"); }

struct Uploader::Impl {
  Impl(cudaStream_t to, int threads) : stream(to), team(threads) {
    check(cudaGetDevice(&device), "which device");
  }

  cudaStream_t stream;
  int device = 0;
  base::ThreadTeam team;
  std::array<PinnedArray, kPieces> pinned;
  std::array<Event, kPieces> free;
  size_t next = 0;

  // Up to half of the pieces at once.
  size_t send(std::byte* to, const std::byte* from, size_t bytes) {
    const size_t count = std::min(kPieces / 2, (bytes + kPiece - 1) / kPiece);
    const auto size = [&](size_t i) { return std::min(kPiece, bytes - i * kPiece); };
    team.for_each(static_cast<int64_t>(count), [&](int64_t index, int) {
      check(cudaSetDevice(device), "choosing the device");  // of this thread
      const auto i = static_cast<size_t>(index);
      const size_t slot = (next + i) % kPieces;
      if (pinned[slot].bytes() < size(i)) {
        free[slot].wait();
        pinned[slot] = PinnedArray(bytes < kSmall ? kSmall : kPiece);
      }
      free[slot].wait();
      std::memcpy(pinned[slot].data(), from + i * kPiece, size(i));
    });
    for (size_t i = 0; i < count; ++i) {
      const size_t slot = (next + i) % kPieces;
      check(cudaMemcpyAsync(to + i * kPiece, pinned[slot].data(), size(i), cudaMemcpyHostToDevice,
                            stream),
            "upload");
      free[slot].record(stream);
    }
    next = (next + count) % kPieces;
    return std::min(bytes, count * kPiece);
  }

  // Likewise, back.
  size_t fetch(std::byte* to, const std::byte* from, size_t bytes) {
    const size_t count = std::min(kPieces / 2, (bytes + kPiece - 1) / kPiece);
    const auto size = [&](size_t i) { return std::min(kPiece, bytes - i * kPiece); };
    for (size_t i = 0; i < count; ++i) {
      const size_t slot = (next + i) % kPieces;
      free[slot].wait();
      if (pinned[slot].bytes() < size(i)) pinned[slot] = PinnedArray(kPiece);
      check(cudaMemcpyAsync(pinned[slot].data(), from + i * kPiece, size(i), cudaMemcpyDeviceToHost,
                            stream),
            "download");
      free[slot].record(stream);
    }
    team.for_each(static_cast<int64_t>(count), [&](int64_t index, int) {
      check(cudaSetDevice(device), "choosing the device");  // of this thread
      const auto i = static_cast<size_t>(index);
      const size_t slot = (next + i) % kPieces;
      free[slot].wait();
      std::memcpy(to + i * kPiece, pinned[slot].data(), size(i));
    });
    next = (next + count) % kPieces;
    return std::min(bytes, count * kPiece);
  }
};

Uploader::Uploader(cudaStream_t stream, int threads) : impl_(new Impl(stream, threads)) {}
Uploader::~Uploader() { delete impl_; }

void Uploader::upload(void* to, const void* from, size_t bytes) {
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  while (bytes > 0) {
    const size_t sent = impl_->send(target, source, bytes);
    target += sent;
    source += sent;
    bytes -= sent;
  }
}

void Uploader::download(void* to, const void* from, size_t bytes) {
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  while (bytes > 0) {
    const size_t fetched = impl_->fetch(target, source, bytes);
    target += fetched;
    source += fetched;
    bytes -= fetched;
  }
}

}  // namespace upg::kernels::cuda
