// Activations of all calibration windows: in memory while they fit, else in a temporary file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace upg::compression {

// [windows, window_floats] floats, zeros at first. The file has no name: it is gone when the
// process ends, however it ends.
class ActivationStore {
 public:
  // folder: where the file goes. in_memory: anonymous memory instead. Throws Error(kIo) when the
  // disk is full, Error(kOutOfMemory).
  ActivationStore(int windows, int64_t window_floats, const std::filesystem::path& folder,
                  bool in_memory);
  ~ActivationStore();
  ActivationStore(const ActivationStore&) = delete;
  ActivationStore& operator=(const ActivationStore&) = delete;

  float* window(int index) noexcept { return data_ + index * window_floats_; }
  // The window's pages may leave memory (they stay in the file).
  void release(int index) noexcept;

 private:
  float* data_ = nullptr;
  int64_t window_floats_;
  size_t bytes_;
  bool in_memory_;
};

}  // namespace upg::compression
