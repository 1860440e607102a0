// The two kinds of ModelSource, and what both check. Only source.cc and they include this.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_view.h"
#include "model/source.h"

namespace upg::model {

// Throw what ModelSource::open says.
std::unique_ptr<ModelSource> open_checkpoint(const std::filesystem::path& folder);
std::unique_ptr<ModelSource> open_upg_file(const std::filesystem::path& file);

// Matrices by tensor name, bound once when the source is opened.
using BoundMatrices = std::map<std::string, codec::Matrix, std::less<>>;

// Throws Error(kInvalidData) naming file and tensor unless it is F32, F16 or BF16 of that shape.
void check_tensor(const base::TensorView& tensor, std::vector<int64_t> shape, std::string_view name,
                  std::string_view file);

// The shape a spec has in a checkpoint: [rows, cols], vectors [rows].
std::vector<int64_t> shape_of(const TensorSpec& spec);

// A vector's values. Throws Error(kInvalidData) when the type, the shape or a value (non-finite) is
// wrong.
std::vector<float> read_vector(const base::TensorView& tensor, const TensorSpec& spec,
                               std::string_view file);

[[noreturn]] void fail_missing(std::string_view name, std::string_view file);

}  // namespace upg::model
