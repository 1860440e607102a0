// Any bytes as JSON: read whole or refused with an Error; what was read is quoted and read again.
#include <string>

#include "base/check.h"
#include "base/json.h"
#include "base/text.h"
#include "upg/error.h"

namespace {

using upg::base::Json;

void walk(const Json& json) {
  (void)json.describe();
  if (json.is_string()) {
    const std::string_view text = json.as_string("f");
    UPG_CHECK(upg::base::valid_utf8_prefix(text) == text.size());
    const upg::base::JsonDocument again(upg::base::json_quote(text), "again");
    UPG_CHECK(again.root().as_string("again") == text);
  } else if (json.is_array()) {
    for (const Json& item : json.as_array("f")) walk(item);
  } else if (json.is_object()) {
    for (const Json::Member& member : json.as_object("f")) {
      UPG_CHECK(json.find(member.key) == &member.value);
      walk(member.value);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const upg::base::JsonDocument document(text, "f");
    walk(document.root());
  } catch (const upg::Error&) {
  }
  return 0;
}
