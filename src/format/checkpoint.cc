#include "format/checkpoint.h"

#include <fmt/format.h>

#include <array>

#include "base/text.h"
#include "format/folder.h"
#include "format/shard_index.h"
#include "upg/error.h"

namespace upg::format {
namespace {

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr size_t kMaxTextBytes = size_t{16} << 20;
constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;

struct TextFile {
  std::string_view name;
  size_t max_bytes;
};
constexpr std::array<TextFile, 6> kTextFiles = {{{"config.json", kMaxTextBytes},
                                                 {"generation_config.json", kMaxTextBytes},
                                                 {"tokenizer.json", kMaxTokenizerBytes},
                                                 {"tokenizer_config.json", kMaxTextBytes},
                                                 {"special_tokens_map.json", kMaxTextBytes},
                                                 {"chat_template.jinja", kMaxTextBytes}}};

// Weights of other kinds, to say why a folder without safetensors is of no use.
constexpr std::array<std::string_view, 5> kOtherWeights = {
    "pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "tf_model.h5",
    "flax_model.msgpack"};

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view code,
                       std::string_view message) {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("{}: {} ({})", base::printable(path.native()), message, code));
}

[[noreturn]] void fail_without_weights(const Folder& folder) {
  for (const std::string_view name : kOtherWeights) {
    if (folder.contains(name)) {
      fail(folder.path(), "MISSING",
           fmt::format("no {} or {}, but {}: convert it to safetensors", kSingleFile, kIndexFile,
                       name));
    }
  }
  fail(folder.path(), "MISSING", fmt::format("no {} or {}", kSingleFile, kIndexFile));
}

std::string in_quotes(std::string_view name) {
  return fmt::format("\"{}\"", base::printable(name));
}

// Names the first tensor that needs a shard and how many do.
[[noreturn]] void fail_missing_shard(const Folder& folder, const ShardIndex& index,
                                     const std::string& shard) {
  size_t count = 0;
  std::string_view first;
  for (const auto& [tensor, file] : index) {
    if (file != shard) continue;
    if (count++ == 0) first = tensor;
  }
  fail(folder.path() / shard, "MISSING",
       fmt::format("no such shard; {} tensors of {} need it, first {}", count, kIndexFile,
                   in_quotes(first)));
}

std::vector<std::string> shard_names(const ShardIndex& index) {
  std::map<std::string, bool> names;
  for (const auto& [tensor, shard] : index) names.emplace(shard, true);
  std::vector<std::string> sorted;
  for (const auto& [name, unused] : names) sorted.push_back(name);
  return sorted;
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& path) : folder_(path) {
  const Folder folder(path);
  if (!folder.contains("config.json")) fail(path / "config.json", "MISSING", "no such file");
  for (const TextFile& file : kTextFiles) {
    if (!folder.contains(file.name)) continue;
    std::string text = folder.read(file.name, file.max_bytes);
    if (text.empty()) fail(path / file.name, "SIZE", "an empty file");
    texts_.emplace(file.name, std::move(text));
  }
  if (folder.contains(kSingleFile)) {  // first, as transformers does
    add_file(std::make_unique<SafetensorsFile>(folder.map(kSingleFile)));
  } else if (folder.contains(kIndexFile)) {
    add_shards(folder);
  } else {
    fail_without_weights(folder);
  }
  if (tensors_.empty()) fail(path, "MISSING", "the weights hold no tensor");
}

void Checkpoint::add_file(std::unique_ptr<SafetensorsFile> file) {
  for (const TensorEntry& tensor : file->tensors()) {
    const auto [other, fresh] = tensors_.emplace(tensor.name, Location{file.get(), &tensor});
    if (!fresh) {
      fail(file->path(), "DUP",
           fmt::format("tensor {} is also in {}", in_quotes(tensor.name),
                       base::printable(other->second.file->path().filename().native())));
    }
  }
  files_.push_back(std::move(file));
}

void Checkpoint::add_shards(const Folder& folder) {
  const std::filesystem::path index_path = folder.path() / kIndexFile;
  const ShardIndex index =
      parse_shard_index(folder.read(kIndexFile, kMaxIndexBytes), index_path.native());
  for (const std::string& shard : shard_names(index)) {
    if (!folder.contains(shard)) fail_missing_shard(folder, index, shard);
    add_file(std::make_unique<SafetensorsFile>(folder.map(shard)));
  }
  for (const auto& [name, shard] : index) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      fail(folder.path() / shard, "MISSING",
           fmt::format("tensor {}, which {} places here, is in no shard", in_quotes(name),
                       kIndexFile));
    }
    const std::filesystem::path stored = found->second.file->path().filename();
    if (stored != shard) {
      fail(index_path, "MISMATCH",
           fmt::format("tensor {} is placed in {}, found in {}", in_quotes(name),
                       base::printable(shard), base::printable(stored.native())));
    }
  }
  for (const auto& [name, location] : tensors_) {
    if (index.contains(name)) continue;
    fail(location.file->path(), "MISMATCH",
         fmt::format("tensor {} is stored here, but {} does not list it", in_quotes(name),
                     kIndexFile));
  }
}

const std::string& Checkpoint::text(std::string_view file_name) const {
  static const std::string empty;
  const auto found = texts_.find(file_name);
  return found == texts_.end() ? empty : found->second;
}

const TensorEntry* Checkpoint::find(std::string_view name) const noexcept {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.entry;
}

std::vector<const TensorEntry*> Checkpoint::tensors() const {
  std::vector<const TensorEntry*> all;
  all.reserve(tensors_.size());
  for (const auto& [name, location] : tensors_) all.push_back(location.entry);
  return all;
}

void Checkpoint::release(const TensorEntry& tensor) const noexcept {
  const auto found = tensors_.find(tensor.name);
  if (found != tensors_.end()) found->second.file->file().release(tensor.view.bytes);
}

std::vector<std::span<const std::byte>> Checkpoint::mappings() const {
  std::vector<std::span<const std::byte>> all;
  for (const auto& file : files_) all.push_back(file->file().bytes());
  return all;
}

std::string Checkpoint::file_of(const TensorEntry& tensor) const {
  const auto found = tensors_.find(tensor.name);
  return found == tensors_.end() ? std::string() : found->second.file->path().filename().native();
}

bool looks_like_checkpoint(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored) &&
         std::filesystem::exists(path / "config.json", ignored);
}

}  // namespace upg::format
