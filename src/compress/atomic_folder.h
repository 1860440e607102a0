// A folder that appears whole or not at all.
#pragma once

#include <filesystem>

namespace upg::compression {

// Files are written into path() beside the target; commit() renames it. Without commit() nothing
// remains; a killed process leaves TARGET.tmp-PID, which the next writer of the target removes.
class AtomicFolder {
 public:
  // Throws Error: kUsage when the target exists and is no empty folder, or its parent does not
  // exist; kIo.
  explicit AtomicFolder(const std::filesystem::path& target);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::filesystem::path& path() const noexcept { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

}  // namespace upg::compression
