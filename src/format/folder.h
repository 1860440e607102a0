// Opens files of a checkpoint folder, and nothing outside it.
//
// Names come from an index that somebody else wrote, so each is a plain name, opened relative to
// the folder's descriptor without following links; the one link that is followed is the Hugging
// Face cache's own. What was checked is what is read: a file is opened once and its descriptor
// kept.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/file.h"

namespace upg::format {

class Folder {
 public:
  // Throws Error(kUsage) when there is no such folder.
  explicit Folder(const std::filesystem::path& path);
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  bool contains(std::string_view name) const noexcept;  // of any kind, links not followed
  // Both throw Error(kInvalidData): PATH for a link out of the folder, MISSING when it is not
  // there, KIND when it is no regular file, LIMIT.
  base::MappedFile map(std::string_view name) const;
  std::string read(std::string_view name, size_t max_bytes) const;

 private:
  class Descriptor;
  Descriptor open(std::string_view name) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
};

// Whether a name names a file of the folder itself: no separators, no control characters, not "."
// or "..", 1 to 255 bytes.
bool is_plain_name(std::string_view name) noexcept;

}  // namespace upg::format
