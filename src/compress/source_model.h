// A checkpoint about to be compressed: its config, the tensors the model needs and where they lie.
// From the headers alone; no weight is read here.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "format/checkpoint.h"
#include "model/config.h"
#include "model/tensors.h"

namespace upg::compression {

struct SourceModel {
  explicit SourceModel(const std::filesystem::path& folder) : checkpoint(folder) {}

  format::Checkpoint checkpoint;
  model::ModelConfig config;
  std::vector<model::TensorSpec> specs;             // in checkpoint order
  std::vector<const format::TensorEntry*> entries;  // one a spec
  std::string chat_template;                        // its text, or empty

  // `FILE: tensor "NAME"`, for messages.
  std::string where(size_t index) const;
};

// Throws Error: kUsage when there is no such folder; kInvalidData naming the tensor that is
// missing, unknown, of another shape or type; kUnsupported for an architecture.
SourceModel open_source(const std::filesystem::path& folder);

// The files of a checkpoint that travel inside a UPG file, each as a U8 tensor of that name.
inline constexpr std::array<std::string_view, 3> kTextTensors = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"};

}  // namespace upg::compression
