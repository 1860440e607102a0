// Where a model comes from: a UPG file or a checkpoint folder behind one face.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/matrix.h"
#include "model/config.h"
#include "model/tensors.h"

namespace upg::format {
class UpgFile;
class Checkpoint;
}  // namespace upg::format

namespace upg::model {

// Immutable after opening; thread-safe. Matrices are views into its mapping: it must outlive them.
class ModelSource {
 public:
  virtual ~ModelSource() = default;

  // Opens and checks structure: config, names, shapes, everything kernels rely on. Throws Error.
  static std::unique_ptr<ModelSource> open(const std::filesystem::path& path);

  const ModelConfig& config() const noexcept { return config_; }
  const std::vector<TensorSpec>& specs() const noexcept { return specs_; }
  const std::filesystem::path& path() const noexcept { return path_; }

  virtual codec::Matrix matrix(const TensorSpec& spec) const = 0;  // checked by its codec
  // Tells the system that a tensor will not be read again soon: its pages leave the resident set.
  virtual void release(const TensorSpec&) const noexcept {}
  // The mapped files, whole.
  virtual std::vector<std::span<const std::byte>> mappings() const = 0;
  virtual std::vector<float> vector(const TensorSpec& spec) const = 0;    // [rows], finite
  virtual std::string_view codec_name(const TensorSpec& spec) const = 0;  // "path3", "raw"
  virtual uint64_t stored_bytes(const TensorSpec& spec) const = 0;        // without shared signs
  virtual uint64_t file_bytes() const = 0;
  virtual std::string_view profile() const = 0;  // "10x"; "checkpoint"

  // Texts; empty when there is none.
  virtual std::string_view config_text() const = 0;
  virtual std::string_view generation_config_text() const = 0;
  virtual std::string_view tokenizer_text() const = 0;
  virtual std::string_view tokenizer_config_text() const = 0;
  virtual std::string_view chat_template_text() const = 0;

 protected:
  std::filesystem::path path_;
  ModelConfig config_;
  std::vector<TensorSpec> specs_;
};

}  // namespace upg::model
