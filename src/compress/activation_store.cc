#include "compress/activation_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/text.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

[[noreturn]] void fail(const std::filesystem::path& folder, size_t bytes, int error) {
  throw Error(ErrorCode::kIo,
              fmt::format("{}: cannot keep {} of calibration activations there: {} (IO)",
                          base::printable(folder.native()), base::format_bytes(bytes),
                          std::strerror(error)));
}

// An unlinked file of that size, its space reserved.
int make_file(const std::filesystem::path& folder, size_t bytes) {
  std::string name = (folder / ".upg-activations-XXXXXX").native();
  const int descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0) fail(folder, bytes, errno);
  ::unlink(name.c_str());
  if (const int error = ::posix_fallocate(descriptor, 0, static_cast<off_t>(bytes)); error != 0) {
    ::close(descriptor);
    fail(folder, bytes, error);
  }
  return descriptor;
}

}  // namespace

ActivationStore::ActivationStore(int windows, int64_t window_floats,
                                 const std::filesystem::path& folder, bool in_memory)
    : window_floats_(window_floats),
      bytes_(static_cast<size_t>(windows * window_floats) * sizeof(float)),
      in_memory_(in_memory) {
  void* address = MAP_FAILED;
  if (in_memory) {
    address = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  } else {
    const int descriptor = make_file(folder, bytes_);
    address = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    ::close(descriptor);
  }
  if (address == MAP_FAILED) {
    throw Error(ErrorCode::kOutOfMemory,
                fmt::format("no address space for {} of activations", base::format_bytes(bytes_)));
  }
  data_ = static_cast<float*>(address);
}

ActivationStore::~ActivationStore() { ::munmap(data_, bytes_); }

void ActivationStore::release(int index) noexcept {
  if (in_memory_) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(window(index)) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(window(index) + window_floats_) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace upg::compression
