// Replaces the measured quality in a UPG file's header, in place.
//
// The header begins with its checksum and the quality, and room for more of it, all within the
// first 4096 bytes of the file. So the change is one write inside one page and one block of the
// disk: a process that is killed has written all of it or nothing (the kernel copies a page without
// a stop), and a drive writes a block whole. When the texts are short, and they are, even the first
// 512 bytes hold the whole change. A journal beside the file was rejected: a file that is moved
// without it would be lost; a copy of the whole file costs its size twice.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/json.h"
#include "base/text.h"
#include "format/upg_file.h"
#include "format/upg_metadata.h"
#include "upg/error.h"

namespace upg::format {
namespace {

constexpr std::string_view kQualityKey = "\",\"quality\":";
constexpr size_t kDigits = kNoChecksum.size();

// A file open for a change, locked against others who change it.
class ChangedFile {
 public:
  explicit ChangedFile(const std::filesystem::path& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor_ < 0) fail("cannot open for writing");
    while (::flock(descriptor_, LOCK_EX) != 0) {
      if (errno == EINTR) continue;
      ::close(descriptor_);
      fail("cannot lock");
    }
  }
  ~ChangedFile() { ::close(descriptor_); }
  ChangedFile(const ChangedFile&) = delete;
  ChangedFile& operator=(const ChangedFile&) = delete;

  int descriptor() const noexcept { return descriptor_; }

  void write(uint64_t offset, std::string_view bytes) {
    ssize_t put = 0;
    do {
      put = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    } while (put < 0 && errno == EINTR);
    if (put != static_cast<ssize_t>(bytes.size())) fail("cannot write the header");
    if (::fsync(descriptor_) != 0) fail("cannot sync");
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw Error(ErrorCode::kIo, fmt::format("{}: {}: {} (IO)", base::printable(path_.native()),
                                            what, std::strerror(errno)));
  }
  std::filesystem::path path_;
  int descriptor_;
};

// The end of the JSON string that starts at `at`, behind its closing quote. The header was parsed:
// the string ends.
size_t string_end(std::string_view text, size_t at) {
  size_t end = at + 1;
  while (text[end] != '"') end += text[end] == '\\' ? 2 : 1;
  return end + 1;
}

// The header with another quality, of the same length.
std::string with_quality(std::string_view header, std::string_view quality, std::string_view file) {
  const size_t key = kHeaderStart.size() + kDigits;
  if (!header.starts_with(kHeaderStart) || !header.substr(key).starts_with(kQualityKey)) {
    fail_upg(file, "FIELD", "the header does not begin with header_checksum and quality");
  }
  const size_t value = key + kQualityKey.size();
  const size_t comma = string_end(header, value);
  const size_t next = header.find_first_not_of(' ', comma + 1);
  if (header[comma] != ',' || next > kQualityRoom) {
    fail_upg(file, "FIELD", "quality: its field does not end in the first 4096 bytes of the file");
  }
  const std::string text = base::json_quote(quality) + ",";
  if (text.size() > next - value) {
    fail_upg(file, "LIMIT",
             fmt::format("quality: {} bytes of JSON text, its field has room for {}", text.size(),
                         next - value),
             ErrorCode::kUsage);
  }
  std::string changed(header);
  changed.replace(value, next - value, next - value, ' ');
  changed.replace(value, text.size(), text);
  seal_header(changed);
  return changed;
}

}  // namespace

void write_quality(const std::filesystem::path& path, std::string_view quality_json) {
  if (!quality_json.empty()) base::JsonDocument(quality_json, "quality");
  ChangedFile file(path);
  const UpgFile upg(base::MappedFile(file.descriptor(), path));
  const std::string old_header(upg.container().header_text());
  const std::string new_header = with_quality(old_header, quality_json, path.native());
  size_t begin = 0;
  size_t end = new_header.size();
  while (begin < end && new_header[begin] == old_header[begin]) ++begin;
  while (end > begin && new_header[end - 1] == old_header[end - 1]) --end;
  if (begin < end) file.write(8 + begin, std::string_view(new_header).substr(begin, end - begin));
}

}  // namespace upg::format
