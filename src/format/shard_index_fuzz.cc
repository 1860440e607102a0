// Any bytes as a shard index: refused with an Error, or plain file names only.
#include "base/check.h"
#include "format/folder.h"
#include "format/shard_index.h"
#include "upg/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const upg::format::ShardIndex index = upg::format::parse_shard_index(text, "f");
    UPG_CHECK(!index.empty());
    for (const auto& [tensor, shard] : index) UPG_CHECK(upg::format::is_plain_name(shard));
  } catch (const upg::Error&) {
  }
  return 0;
}
