#include "base/json_text.h"

#include <gtest/gtest.h>

namespace upg::base {
namespace {

std::string rewritten(std::string_view text, int indent = -1) {
  const JsonDocument document(text, "text");
  return json_text(document.root(), indent);
}

TEST(JsonText, AsPythonWritesIt) {
  EXPECT_EQ(rewritten(R"({"b":[1,-2.5,3.0,1e-7,true,null],"a":{"é":"\u00e9\n\"x"},"e":[],"f":{}})"),
            R"({"b": [1, -2.5, 3.0, 1e-07, true, null], "a": {"é": "é\n\"x"}, "e": [], "f": {}})");
  EXPECT_EQ(rewritten("18446744073709551615"), "18446744073709551615");
}

TEST(JsonText, Indented) {
  EXPECT_EQ(rewritten(R"({"a":[1,{"b":2}],"c":{}})", 4),
            "{\n    \"a\": [\n        1,\n        {\n            \"b\": 2\n        }\n    ],\n"
            "    \"c\": {}\n}");
}

}  // namespace
}  // namespace upg::base
