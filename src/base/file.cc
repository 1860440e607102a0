#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "base/text.h"
#include "upg/error.h"

namespace upg::base {
namespace {

[[noreturn]] void fail_io(std::string_view doing, const std::filesystem::path& path, int error) {
  throw Error(ErrorCode::kIo, fmt::format("{}: {}: {} (IO)", printable(path.native()), doing,
                                          std::strerror(error)));
}

// The size of an open regular file.
size_t size_of_file(int descriptor, const std::filesystem::path& path) {
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) fail_io("cannot stat", path, errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kInvalidData,
                fmt::format("{}: not a regular file (KIND)", printable(path.native())));
  }
  return static_cast<size_t>(status.st_size);
}

// An open descriptor. Closed by the destructor.
class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path)
      : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor_ >= 0) return;
    if (errno == ENOENT || errno == ENOTDIR) {
      throw Error(ErrorCode::kUsage, fmt::format("{}: no such file", printable(path.native())));
    }
    fail_io("cannot open", path, errno);
  }
  ~OpenFile() { ::close(descriptor_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int descriptor() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

// Names of temporary files that exist now, for remove_temporary_files(). Fixed storage, because a
// signal handler reads it.
constexpr size_t kMaxTemporaries = 64;
constexpr size_t kMaxPath = 4096;
struct TemporarySlot {
  std::atomic<int> state{0};  // 0 free, 1 being filled, 2 in use
  char path[kMaxPath];
};
std::array<TemporarySlot, kMaxTemporaries> temporaries;

void remember_temporary(const std::filesystem::path& path) {
  if (path.native().size() >= kMaxPath) return;
  for (TemporarySlot& slot : temporaries) {
    int expected = 0;
    if (!slot.state.compare_exchange_strong(expected, 1)) continue;
    std::memcpy(slot.path, path.c_str(), path.native().size() + 1);
    slot.state.store(2);
    return;
  }
}

void forget_temporary(const std::filesystem::path& path) noexcept {
  for (TemporarySlot& slot : temporaries) {
    if (slot.state.load() == 2 && path.native() == slot.path) slot.state.store(0);
  }
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail_io("cannot open the folder", folder, errno);
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // Some file systems cannot sync a folder; the rename itself has happened.
  if (result != 0 && error != EINVAL && error != ENOTSUP) {
    fail_io("cannot sync the folder", folder, error);
  }
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.parent_path();
  return folder.empty() ? std::filesystem::path(".") : folder;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path)
    : MappedFile(OpenFile(path).descriptor(), path) {}

MappedFile::MappedFile(int descriptor, const std::filesystem::path& path)
    : size_(size_of_file(descriptor, path)), path_(path) {
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0);
  if (address == MAP_FAILED) fail_io("cannot map", path, errno);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(std::span<const std::byte> range) const noexcept {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(range.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(range.data() + range.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_file(const std::filesystem::path& path, size_t max_bytes) {
  return read_file(OpenFile(path).descriptor(), path, max_bytes);
}

std::string read_file(int descriptor, const std::filesystem::path& path, size_t max_bytes) {
  const size_t size = size_of_file(descriptor, path);
  if (size > max_bytes) {
    throw Error(ErrorCode::kInvalidData, fmt::format("{}: {} bytes, allowed are {} (LIMIT)",
                                                     printable(path.native()), size, max_bytes));
  }
  std::string text(size, '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t got =
        ::pread(descriptor, text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_io("cannot read", path, errno);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  text.resize(done);
  return text;
}

AtomicFile::AtomicFile(const std::filesystem::path& target) : target_(target) {
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored)) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: is a folder, allowed is a file to write",
                                               printable(target.native())));
  }
  if (!std::filesystem::is_directory(folder_of(target), ignored)) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: the folder does not exist",
                                               printable(folder_of(target).native())));
  }
  temporary_ = target;
  temporary_ += fmt::format(".tmp-{}", ::getpid());
  descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_io("cannot create", temporary_, errno);
  lock_temporary(descriptor_);
  remember_temporary(temporary_);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
  forget_temporary(temporary_);
}

void AtomicFile::reserve(uint64_t bytes) {
  if (bytes == 0) return;
  const int error = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  if (error == 0 || error == EOPNOTSUPP || error == EINVAL) return;
  throw Error(ErrorCode::kIo,
              fmt::format("{}: cannot reserve {} on the disk: {} (IO)", printable(target_.native()),
                          format_bytes(bytes), std::strerror(error)));
}

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail_io("cannot write", target_, put == 0 ? ENOSPC : errno);
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
}

void AtomicFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail_io("cannot read back", target_, got == 0 ? EIO : errno);
    out = out.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
}

void AtomicFile::truncate(uint64_t bytes) {
  if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) {
    fail_io("cannot cut", target_, errno);
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail_io("cannot sync", target_, errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0)
    fail_io("cannot rename to", target_, errno);
  forget_temporary(temporary_);
  ::close(std::exchange(descriptor_, -1));
  sync_folder(folder_of(target_));
}

void lock_temporary(int descriptor) noexcept { ::flock(descriptor, LOCK_EX | LOCK_NB); }

void remove_abandoned(const std::filesystem::path& target) noexcept {
  const std::string prefix = target.filename().native() + ".tmp-";
  std::error_code ignored;
  std::vector<std::filesystem::path> found;
  for (std::filesystem::directory_iterator it(folder_of(target), ignored), end;
       !ignored && it != end; it.increment(ignored)) {
    const std::string name = it->path().filename().native();
    if (name.starts_with(prefix) && name.size() > prefix.size() &&
        name.find_first_not_of("0123456789", prefix.size()) == std::string::npos) {
      found.push_back(it->path());
    }
  }
  for (const std::filesystem::path& path : found) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) continue;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) std::filesystem::remove_all(path, ignored);
    ::close(descriptor);
  }
}

void remove_temporary_files() noexcept {
  for (const TemporarySlot& slot : temporaries) {
    if (slot.state.load() == 2) ::unlink(slot.path);
  }
}

uint64_t xxh3(std::span<const std::byte> bytes) noexcept {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string hex64(uint64_t value) { return fmt::format("{:016x}", value); }

struct Xxh3::State {
  State() : xxh(XXH3_createState()) {
    if (xxh == nullptr) throw std::bad_alloc();
    XXH3_64bits_reset(xxh);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { XXH3_freeState(xxh); }
  XXH3_state_t* xxh;
};

Xxh3::Xxh3() : state_(std::make_unique<State>()) {}

Xxh3::~Xxh3() = default;

void Xxh3::add(std::span<const std::byte> bytes) noexcept {
  XXH3_64bits_update(state_->xxh, bytes.data(), bytes.size());
}

uint64_t Xxh3::value() const noexcept { return XXH3_64bits_digest(state_->xxh); }

}  // namespace upg::base
