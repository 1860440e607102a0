// Any bytes as a safetensors file: refused with an Error, or tensors that lie in the file, one
// behind the other, and can all be read.
#include <set>

#include "base/check.h"
#include "format/safetensors.h"
#include "upg/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const upg::format::ParsedSafetensors parsed = upg::format::parse_safetensors(bytes, "f");
    std::set<std::string_view> names;
    size_t covered = 0;
    uint64_t sum = 0;
    for (const upg::format::TensorEntry& tensor : parsed.tensors) {
      UPG_CHECK(names.insert(tensor.name).second);
      UPG_CHECK(tensor.view.bytes.data() == bytes.data() + tensor.offset);
      UPG_CHECK(static_cast<uint64_t>(tensor.view.elements()) *
                    upg::base::size_of(tensor.view.dtype) ==
                tensor.view.bytes.size());
      for (const std::byte byte : tensor.view.bytes) sum += static_cast<uint64_t>(byte);
      covered += tensor.view.bytes.size();
    }
    UPG_CHECK(covered < size && sum <= covered * 255);
  } catch (const upg::Error&) {
  }
  return 0;
}
