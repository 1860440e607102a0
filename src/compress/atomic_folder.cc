#include "compress/atomic_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/file.h"
#include "base/text.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

[[noreturn]] void fail_io(std::string_view doing, const std::filesystem::path& path, int error) {
  throw Error(ErrorCode::kIo, fmt::format("{}: {}: {} (IO)", base::printable(path.native()), doing,
                                          std::strerror(error)));
}

// The target without a trailing slash, which would name what is inside it.
std::filesystem::path plain(const std::filesystem::path& target) {
  return target.has_filename() ? target : target.parent_path();
}

std::filesystem::path parent_of(const std::filesystem::path& target) {
  const std::filesystem::path parent = target.parent_path();
  return parent.empty() ? std::filesystem::path(".") : parent;
}

void check_target(const std::filesystem::path& target) {
  const std::string name = base::printable(target.native());
  std::error_code ignored;
  if (!std::filesystem::is_directory(parent_of(target), ignored)) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: the folder {} does not exist", name,
                                               base::printable(parent_of(target).native())));
  }
  if (!std::filesystem::exists(std::filesystem::symlink_status(target, ignored))) return;
  if (!std::filesystem::is_directory(std::filesystem::symlink_status(target, ignored))) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: exists and is no folder", name));
  }
  if (!std::filesystem::is_empty(target, ignored)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: exists, allowed is a new or empty folder", name));
  }
}

}  // namespace

AtomicFolder::AtomicFolder(const std::filesystem::path& target) : target_(plain(target)) {
  check_target(target_);
  base::remove_abandoned(target_);
  temporary_ = target_;
  temporary_ += fmt::format(".tmp-{}", ::getpid());
  if (::mkdir(temporary_.c_str(), 0755) != 0) fail_io("cannot create", temporary_, errno);
  descriptor_ = ::open(temporary_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0) {
    const int error = errno;
    ::rmdir(temporary_.c_str());
    fail_io("cannot open", temporary_, error);
  }
  base::lock_temporary(descriptor_);
}

AtomicFolder::~AtomicFolder() {
  if (descriptor_ < 0) return;
  std::error_code ignored;
  std::filesystem::remove_all(temporary_, ignored);
  ::close(descriptor_);
}

void AtomicFolder::commit() {
  ::fsync(descriptor_);  // some file systems cannot sync a folder
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    fail_io("cannot rename to", target_, errno);
  }
  ::close(descriptor_);
  descriptor_ = -1;
  const int parent = ::open(parent_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (parent < 0) return;
  ::fsync(parent);
  ::close(parent);
}

}  // namespace upg::compression
