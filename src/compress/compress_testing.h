// What this folder's tests share: folders that vanish, checkpoints made on the spot.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_view.h"
#include "model/tensors.h"
#include "upg/compress.h"

namespace upg::compression {

// A new empty folder, removed with all it holds.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  // Names of what lies in it, sorted.
  std::vector<std::string> entries() const;

 private:
  std::filesystem::path path_;
};

// A small random checkpoint whose sizes are no multiples of anything (Phi-3 family).
struct TinyCheckpoint {
  base::DType matrix_dtype = base::DType::kBF16;
  base::DType vector_dtype = base::DType::kBF16;
  int shards = 1;
  bool tied = false;
  bool tokenizer = false;  // one that works (a token a byte), not only a file of that name
  // May change a tensor before it is written, or leave it out by returning false.
  std::function<bool(const model::TensorSpec& spec, std::vector<float>& values)> edit;
  // Written besides what the model needs: a name and its [rows] values.
  std::vector<std::pair<std::string, int64_t>> extra;

  void write(const std::filesystem::path& folder) const;
  std::vector<model::TensorSpec> specs() const;
  std::string config() const;
};

// Options for tests that are not about calibration, which needs a text and takes long.
CompressOptions uncalibrated();

// Text enough for a few calibration windows of a TinyCheckpoint.
std::string tiny_text();

// The sample checkpoint of that name, or nothing (the test then skips).
std::optional<std::filesystem::path> sample_checkpoint(std::string_view name);

std::string read_bytes(const std::filesystem::path& path);
void write_bytes(const std::filesystem::path& path, std::string_view bytes);

}  // namespace upg::compression
