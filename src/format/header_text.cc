#include "format/header_text.h"

#include <fmt/format.h>

#include "base/json.h"
#include "base/text.h"
#include "upg/error.h"

namespace upg::format {
namespace {

void append_metadata(std::string& out, std::span<const HeaderField> metadata) {
  out += "\"__metadata__\":{";
  for (size_t i = 0; i < metadata.size(); ++i) {
    const HeaderField& field = metadata[i];
    out += base::json_quote(field.key) + ":" + base::json_quote(field.value);
    if (i + 1 < metadata.size()) out.push_back(',');
    if (out.size() < field.padded_to) out.append(field.padded_to - out.size(), ' ');
  }
  out.push_back('}');
}

void append_tensor(std::string& out, const HeaderTensor& tensor) {
  std::string shape;
  for (const int64_t extent : tensor.shape) {
    if (!shape.empty()) shape.push_back(',');
    shape += std::to_string(extent);
  }
  out += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                     base::json_quote(tensor.name), base::name_of(tensor.dtype), shape,
                     tensor.begin, tensor.end);
}

}  // namespace

std::string header_text(std::span<const HeaderField> metadata,
                        std::span<const HeaderTensor> tensors, uint64_t capacity,
                        std::string_view file) {
  std::string out = "{";
  if (!metadata.empty()) append_metadata(out, metadata);
  for (const HeaderTensor& tensor : tensors) {
    if (out.size() > 1) out.push_back(',');
    append_tensor(out, tensor);
  }
  out.push_back('}');
  if (out.size() > capacity) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: the header needs {} bytes, {} were set aside (LIMIT)",
                            base::printable(file), out.size(), capacity));
  }
  out.append(capacity - out.size(), ' ');
  return out;
}

}  // namespace upg::format
