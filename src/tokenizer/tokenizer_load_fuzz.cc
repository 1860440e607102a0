// Any bytes as tokenizer.json: it loads or throws; what loads encodes and decodes.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "tokenizer/tokenizer.h"
#include "upg/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  try {
    const auto tokenizer = upg::tokenizer::Tokenizer::load(json, "", "fuzz");
    const auto ids = tokenizer.encode("Hello, w\u00f6rld!  <|s|> 123 'll\n\n\u65e5\u672c");
    for (const int32_t id : ids) UPG_CHECK(id >= 0 && id < tokenizer.vocab_size());
    const std::string text = tokenizer.decode(ids, false);
    UPG_CHECK(upg::base::valid_utf8_prefix(text) == text.size());
  } catch (const upg::Error&) {
  }
  return 0;
}
