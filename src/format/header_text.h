// The JSON text of a safetensors header, as our writers lay it out.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_view.h"

namespace upg::format {

struct HeaderTensor {
  std::string_view name;
  base::DType dtype;
  std::span<const int64_t> shape;
  uint64_t begin;  // in the data section
  uint64_t end;
};

struct HeaderField {
  std::string_view key;
  std::string_view value;
  // Spaces follow the field up to this byte of the text, so that the field can grow in place; 0:
  // none.
  size_t padded_to = 0;
};

// `{"__metadata__":{...},"name":{...},...}` in the given order, then spaces up to `capacity`. No
// other white space. Throws Error(kUsage) LIMIT when it does not fit.
std::string header_text(std::span<const HeaderField> metadata,
                        std::span<const HeaderTensor> tensors, uint64_t capacity,
                        std::string_view file);

}  // namespace upg::format
