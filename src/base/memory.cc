#include "base/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/text.h"
#include "upg/error.h"

namespace upg::base {
namespace {

// linux/mempolicy.h, which is not installed everywhere.
constexpr int kPolicyPreferred = 1;
constexpr unsigned kMovePages = 2;
constexpr int kMaxNode = 64;

// The whole pages that hold the bytes.
std::span<std::byte> pages_of(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const auto end =
      (reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) + page - 1) / page * page;
  return {reinterpret_cast<std::byte*>(begin), end - begin};
}

std::string lock_limit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return "none";
  return format_bytes(limit.rlim_cur);
}

}  // namespace

void lock_memory(std::span<const std::byte> bytes, std::string_view what) {
  if (bytes.empty()) return;
  const std::span<std::byte> pages = pages_of(bytes);
  if (::mlock(pages.data(), pages.size()) == 0) return;
  const int error = errno;
  throw Error(ErrorCode::kOutOfMemory,
              fmt::format("{}: cannot lock {} in memory: {}; the limit for locked memory is {} "
                          "(ulimit -l)",
                          what, format_bytes(pages.size()), std::strerror(error), lock_limit()));
}

void advise_huge_pages(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return;
  const std::span<std::byte> pages = pages_of(bytes);
  ::madvise(pages.data(), pages.size(), MADV_HUGEPAGE);
}

bool move_to_node(std::span<const std::byte> bytes, int node) noexcept {
  if (bytes.empty() || node < 0 || node >= kMaxNode) return bytes.empty();
  const std::span<std::byte> pages = pages_of(bytes);
  const uint64_t nodes = uint64_t{1} << node;
  return ::syscall(SYS_mbind, pages.data(), pages.size(), kPolicyPreferred, &nodes, kMaxNode + 1,
                   kMovePages) == 0;
}

}  // namespace upg::base
