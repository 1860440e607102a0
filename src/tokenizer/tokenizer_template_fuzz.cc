// Any bytes as a chat template: a row of the table or none.
#include <cstdint>
#include <string_view>

#include "tokenizer/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  upg::tokenizer::select_template({reinterpret_cast<const char*>(data), size});
  return 0;
}
