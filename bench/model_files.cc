#include "model_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include "suite.h"
#include "upg/error.h"

namespace upg::bench {
namespace {

namespace fs = std::filesystem;

class Descriptor {
 public:
  explicit Descriptor(const fs::path& path) : value_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (value_ < 0)
      throw Error(ErrorCode::kUsage, fmt::format("{}: cannot be opened", path.native()));
  }
  ~Descriptor() { ::close(value_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

// Pages of the file in the page cache.
size_t cached_pages(const Descriptor& file, size_t bytes) {
  void* mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) return 0;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> states((bytes + page - 1) / page);
  size_t count = 0;
  if (::mincore(mapped, bytes, states.data()) == 0) {
    for (const unsigned char state : states) count += state & 1;
  }
  ::munmap(mapped, bytes);
  return count * page;
}

}  // namespace

std::vector<fs::path> files_of(const fs::path& model) {
  if (!fs::is_directory(model)) return {model};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(model)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".safetensors" || extension == ".json") files.push_back(entry.path());
  }
  return files;
}

uint64_t bytes_of(const fs::path& model) {
  uint64_t bytes = 0;
  for (const fs::path& file : files_of(model)) bytes += fs::file_size(file);
  return bytes;
}

std::string label_of(const fs::path& model) { return model.filename().string(); }

double drop_cached(const fs::path& model) {
  size_t cached = 0;
  for (const fs::path& path : files_of(model)) {
    const Descriptor file(path);
    ::fdatasync(file.get());
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
    cached += cached_pages(file, fs::file_size(path));
  }
  return static_cast<double>(cached) / static_cast<double>(bytes_of(model));
}

double read_files(const fs::path& model) {
  std::vector<char> buffer(size_t{4} << 20);
  const double begin = seconds_now();
  for (const fs::path& path : files_of(model)) {
    const Descriptor file(path);
    while (::read(file.get(), buffer.data(), buffer.size()) > 0) benchmark::ClobberMemory();
  }
  return seconds_now() - begin;
}

}  // namespace upg::bench
