// Any bytes as a schema: a grammar or an Error. What is drawn from a grammar's masks is JSON that
// the grammar allows.
#include <random>
#include <string>

#include "base/check.h"
#include "base/json.h"
#include "constrain/constrain_testing.h"
#include "upg/error.h"

namespace {

using upg::constrain::Grammar;
namespace testing = upg::constrain::testing;

void walk(const std::shared_ptr<const Grammar>& grammar, uint64_t seed) {
  static const auto table = testing::mixed_table(0, 1);
  std::mt19937_64 random(seed);
  const std::string text = testing::random_walk(grammar, table, random, 10);
  if (text.empty()) return;
  UPG_CHECK(testing::read(grammar, text) == testing::Verdict::kWhole);
  try {
    const upg::base::JsonDocument document(text, "text");
  } catch (const upg::Error& error) {  // members beyond the named ones may repeat
    UPG_CHECK(std::string_view(error.what()).find("(DUP)") != std::string_view::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const upg::base::JsonDocument schema(text, "schema");
    walk(Grammar::json_schema(schema.root(), "schema"), size);
  } catch (const upg::Error&) {
  }
  return 0;
}
