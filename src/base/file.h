// Files: read-only mappings, bounded reads, and output that appears whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace upg::base {

// A regular file mapped read-only and shared. Movable; the bytes stay where they are.
// A file that another process truncates while it is mapped ends this process with SIGBUS, which the
// command turns into a message (cli/main.cc); copy first where that matters.
class MappedFile {
 public:
  // Throws Error: kUsage when the path does not exist, kInvalidData when it is no regular file,
  // kIo otherwise.
  explicit MappedFile(const std::filesystem::path& path);
  // The same for a file that is open already; `path` is its name for messages. The descriptor stays
  // the caller's.
  MappedFile(int descriptor, const std::filesystem::path& path);
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::filesystem::path& path() const noexcept { return path_; }
  // Tells the system that a range will not be read again soon: its pages leave this process's
  // resident set (they stay in the page cache).
  void release(std::span<const std::byte> range) const noexcept;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::filesystem::path path_;
};

// The whole file as text. Throws as MappedFile does, and kInvalidData above max_bytes.
std::string read_file(const std::filesystem::path& path, size_t max_bytes);
std::string read_file(int descriptor, const std::filesystem::path& path, size_t max_bytes);

// Writes a file under a temporary name in the target's folder; commit() makes it appear under its
// own name, synced to disk, and without commit() nothing remains. One writer at a time. An existing
// target is replaced only by commit(). All functions throw Error(kIo) naming the file and the
// cause.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Reserves disk space, so that a full disk is found before the work and not after it.
  void reserve(uint64_t bytes);
  void write_at(uint64_t offset, std::span<const std::byte> bytes);  // thread-safe
  void read_at(uint64_t offset, std::span<std::byte> out) const;     // thread-safe
  void truncate(uint64_t bytes);  // cuts off what was reserved and not needed
  void commit();                  // fsync, rename, fsync of the folder

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

// Removes what earlier writers of this target left in its folder (TARGET.tmp-PID, a file or a
// folder) when they were killed: whatever nobody holds the lock of. Failures are ignored.
void remove_abandoned(const std::filesystem::path& target) noexcept;

// Locks an open file or folder for as long as the descriptor lives: what remove_abandoned() looks
// at.
void lock_temporary(int descriptor) noexcept;

// Removes the temporary files of every AtomicFile that is open; async-signal-safe, for handlers
// that end the process.
void remove_temporary_files() noexcept;

// XXH3-64 of the bytes, as 16 lower-case hexadecimal digits where it is text.
uint64_t xxh3(std::span<const std::byte> bytes) noexcept;
std::string hex64(uint64_t value);

// The same of bytes that come piece by piece.
class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  Xxh3(const Xxh3&) = delete;
  Xxh3& operator=(const Xxh3&) = delete;

  void add(std::span<const std::byte> bytes) noexcept;
  uint64_t value() const noexcept;  // of all bytes so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace upg::base
