// A Hugging Face checkpoint folder: config.json, tokenizer files, and weights in one safetensors
// file or in the shards that model.safetensors.index.json lists.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "format/safetensors.h"

namespace upg::format {

class Folder;

class Checkpoint {
 public:
  // Reads the texts and the headers of the weights, not the weights. Throws Error: kUsage when the
  // folder does not exist, kInvalidData otherwise. Shards outside the folder are refused, but for
  // the Hugging Face cache's own links (snapshots/REVISION/file -> ../../blobs/HASH).
  explicit Checkpoint(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const noexcept { return folder_; }
  // The text of config.json (required), generation_config.json, tokenizer.json,
  // tokenizer_config.json, special_tokens_map.json, chat_template.jinja; empty when there is no
  // such file.
  const std::string& text(std::string_view file_name) const;

  const TensorEntry* find(std::string_view name) const noexcept;
  std::vector<const TensorEntry*> tensors() const;  // of all shards, sorted by name
  // Tells the system that this tensor will not be read again soon.
  void release(const TensorEntry& tensor) const noexcept;
  std::vector<std::span<const std::byte>> mappings() const;  // of all shards, whole
  // "model-00003-of-00007.safetensors" of a tensor, for messages.
  std::string file_of(const TensorEntry& tensor) const;

 private:
  struct Location {
    const SafetensorsFile* file;
    const TensorEntry* entry;
  };
  void add_file(std::unique_ptr<SafetensorsFile> file);
  void add_shards(const Folder& folder);

  std::filesystem::path folder_;
  std::map<std::string, std::string, std::less<>> texts_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Location, std::less<>> tensors_;
};

bool looks_like_checkpoint(const std::filesystem::path& path);  // a folder with a config.json

}  // namespace upg::format
