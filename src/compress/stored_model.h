// A UPG file of either version as a list of matrices and vectors, with or without the config that
// would make it a model: what inspect, verify and decompress work on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "codec/codec.h"
#include "compress/profiles.h"
#include "format/upg_file.h"

namespace upg::compression {

struct StoredTensor {
  std::string name;
  int64_t rows = 0;
  int64_t cols = 1;
  const format::MatrixRecord* record = nullptr;  // nullptr: a vector
  const codec::Codec* codec = nullptr;           // of a matrix
  const base::TensorView* vector = nullptr;      // of a vector, F32
  uint64_t bytes = 0;                            // stored, without shared signs
  bool layer = false;                            // a matrix of a layer, as far as is known

  uint64_t elements() const noexcept {
    return static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols);
  }
};

class StoredModel {
 public:
  // cols: the least number of columns of matrices whose file does not say it (version 2 files of
  // other programs); 0: what their indices need. Throws Error as UpgFile does, and for codecs this
  // build does not know.
  explicit StoredModel(const std::filesystem::path& path, int64_t cols = 0);

  const format::UpgFile& file() const noexcept { return file_; }
  // Matrices in checkpoint order, then vectors in the file's.
  const std::vector<StoredTensor>& tensors() const noexcept { return tensors_; }
  // Whether names, columns and config are missing: a version 2 file of another program.
  bool foreign() const noexcept { return foreign_; }

  // A matrix whose every index has been checked. Throws Error(kInvalidData).
  codec::Matrix bind(const StoredTensor& tensor) const;
  // How a matrix is stored, in the words of the plan.
  Storage storage_of(const StoredTensor& tensor) const;
  // Its element type before compression; F32 when unknown.
  base::DType source_dtype(const StoredTensor& tensor) const;
  // Its pages leave the resident set.
  void release(const StoredTensor& tensor) const noexcept;

  std::string name() const;          // of the file, for messages
  std::string architecture() const;  // "Phi3ForCausalLM", or empty

 private:
  void add_matrix(const format::MatrixRecord& record, int64_t cols);
  void add_vectors();
  void mark_layers();
  void read_settings();
  codec::Matrix bind_as(const StoredTensor& tensor, int64_t cols) const;

  format::UpgFile file_;
  bool foreign_ = false;
  std::vector<StoredTensor> tensors_;
  double sparsity_ = 0.5;  // of the settings
  base::DType vector_dtype_ = base::DType::kF32;
  std::map<std::string, base::DType, std::less<>> vector_dtypes_;
};

}  // namespace upg::compression
