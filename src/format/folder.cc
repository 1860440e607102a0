#include "format/folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/text.h"
#include "upg/error.h"

namespace upg::format {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view code,
                       std::string_view message) {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("{}: {} ({})", base::printable(path.native()), message, code));
}

constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW;
constexpr std::string_view kCachePrefix = "../../blobs/";

}  // namespace

class Folder::Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { ::close(value_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value() const noexcept { return value_; }

 private:
  int value_;
};

bool is_plain_name(std::string_view name) noexcept {
  constexpr size_t kMaxName = 255;
  if (name.empty() || name.size() > kMaxName || name == "." || name == "..") return false;
  return std::none_of(name.begin(), name.end(), [](char c) {
    return c == '/' || c == '\\' || static_cast<uint8_t>(c) < 0x20 || c == 0x7f;
  });
}

Folder::Folder(const std::filesystem::path& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ >= 0) return;
  const int error = errno;
  throw Error(error == EACCES ? ErrorCode::kIo : ErrorCode::kUsage,
              fmt::format("{}: cannot open the folder: {}", base::printable(path.native()),
                          std::strerror(error)));
}

Folder::~Folder() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool Folder::contains(std::string_view name) const noexcept {
  struct stat status = {};
  return ::fstatat(descriptor_, std::string(name).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

// A file of the folder; a link to another file of the folder; or, in the cache's snapshots/REVISION
// folder, a link to a file of the same cache's blobs folder.
Folder::Descriptor Folder::open(std::string_view name) const {
  const std::string file(name);
  const std::filesystem::path path = path_ / file;
  if (!is_plain_name(name)) fail(path, "PATH", "allowed is the plain name of a file in the folder");
  int opened = ::openat(descriptor_, file.c_str(), kOpenFlags);
  if (opened < 0 && errno == ELOOP) {
    std::array<char, PATH_MAX> buffer;
    const ssize_t length =
        ::readlinkat(descriptor_, file.c_str(), buffer.data(), buffer.size() - 1);
    const std::string target(buffer.data(), static_cast<size_t>(std::max<ssize_t>(length, 0)));
    const bool in_cache = target.starts_with(kCachePrefix) &&
                          is_plain_name(std::string_view(target).substr(kCachePrefix.size()));
    std::error_code ignored;
    const bool is_snapshot =
        std::filesystem::canonical(path_, ignored).parent_path().filename() == "snapshots";
    if (!is_plain_name(target) && !(in_cache && is_snapshot)) {
      fail(path, "PATH",
           fmt::format("a link to {}, allowed are links within the folder and those of the Hugging "
                       "Face cache (snapshots/REVISION/file -> ../../blobs/NAME)",
                       base::printable(target)));
    }
    opened = ::openat(descriptor_, target.c_str(), kOpenFlags);
    if (opened < 0 && errno == ELOOP) fail(path, "PATH", "a link to a link");
  }
  if (opened >= 0) return Descriptor(opened);
  const int error = errno;
  if (error == ENOENT) fail(path, "MISSING", "no such file");
  throw Error(ErrorCode::kIo, fmt::format("{}: cannot open: {} (IO)",
                                          base::printable(path.native()), std::strerror(error)));
}

base::MappedFile Folder::map(std::string_view name) const {
  return base::MappedFile(open(name).value(), path_ / std::string(name));
}

std::string Folder::read(std::string_view name, size_t max_bytes) const {
  return base::read_file(open(name).value(), path_ / std::string(name), max_bytes);
}

}  // namespace upg::format
