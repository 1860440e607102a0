#include "constrain/constrain_testing.h"

#include <cmath>
#include <limits>
#include <regex>
#include <stdexcept>

#include "base/check.h"

namespace upg::constrain::testing {
namespace {

using base::Json;
using Random = std::mt19937_64;

int pick(Random& random, int below) {
  return static_cast<int>(random() % static_cast<uint64_t>(below));
}

std::shared_ptr<const TokenTable> make_table(const std::vector<std::string>& pieces) {
  const std::vector<std::string_view> views(pieces.begin(), pieces.end());
  return std::make_shared<const TokenTable>(views);
}

std::vector<std::string> byte_pieces() {
  std::vector<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
  return pieces;
}

}  // namespace

std::shared_ptr<const TokenTable> byte_table() {
  static const auto table = make_table(byte_pieces());
  return table;
}

std::shared_ptr<const TokenTable> mixed_table(int count, uint64_t seed) {
  Random random(seed);
  std::vector<std::string> pieces = byte_pieces();
  for (const char* piece :
       {"{\"",  "\":",   "\": ", "\",",      "\", \"",     "},", "}]",   "[]",   "{}",
        "true", "false", "null", "\\\"",     "\\u",        "0.", "12",   "-1",   "\n  ",
        "é",    "日本",  "😀",    "\xf0\x9f", "\x98\x80\"", "a",  "name", "a\": "}) {
    pieces.emplace_back(piece);
  }
  for (int i = 0; i < count; ++i) {
    std::string piece;
    for (int k = 1 + pick(random, 8); k > 0; --k) {
      piece += static_cast<char>(pick(random, 8) == 0 ? pick(random, 256) : 32 + pick(random, 95));
    }
    pieces.push_back(piece);
  }
  pieces.emplace_back();  // special
  return make_table(pieces);
}

Verdict read(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  Matcher matcher(grammar, byte_table());
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (!matcher.allows(byte)) return Verdict::kNo;
    matcher.advance(byte);
  }
  return matcher.complete() ? Verdict::kWhole : Verdict::kBeginning;
}

std::shared_ptr<const Grammar> schema_grammar(std::string_view schema) {
  const base::JsonDocument document(schema, "schema");
  return Grammar::json_schema(document.root(), "schema");
}

std::string random_walk(const std::shared_ptr<const Grammar>& grammar,
                        const std::shared_ptr<const TokenTable>& table, Random& random,
                        int patience) {
  Matcher matcher(grammar, table);
  const auto size = static_cast<size_t>(table->size());
  std::string text;
  for (int step = 0; step < 20 * patience; ++step) {
    if (matcher.complete() && (matcher.must_end() || step > patience || pick(random, 4) == 0)) {
      return text;
    }
    std::vector<float> logits(size, 0.0f);
    matcher.mask(logits, {});
    std::vector<int32_t> allowed, closing;
    for (size_t id = 0; id < size; ++id) {
      if (logits[id] != 0.0f) continue;
      allowed.push_back(static_cast<int32_t>(id));
      const std::string_view piece = table->piece(allowed.back());
      if (piece == "\"" || piece == "}" || piece == "]") closing.push_back(allowed.back());
    }
    UPG_CHECK(!allowed.empty());  // a text that was begun can be ended
    const auto& from = step > patience && !closing.empty() ? closing : allowed;
    const int32_t token = from[static_cast<size_t>(pick(random, static_cast<int>(from.size())))];
    UPG_CHECK(matcher.allows(token));
    matcher.advance(token);
    text += table->piece(token);
  }
  return {};
}

// ---- random schemas

namespace {

std::string number_schema(Random& random) {
  const bool integer = pick(random, 2) == 0;
  std::string text = integer ? R"({"type": "integer")" : R"({"type": "number")";
  const int low = pick(random, 300) - 150;
  const std::string tail = integer || pick(random, 2) == 0 ? "" : ".25";
  if (pick(random, 2) == 0) {
    text += (pick(random, 2) == 0 ? R"(, "minimum": )" : R"(, "exclusiveMinimum": )") +
            std::to_string(low) + tail;
  }
  if (pick(random, 2) == 0) {
    text += (pick(random, 2) == 0 ? R"(, "maximum": )" : R"(, "exclusiveMaximum": )") +
            std::to_string(low + 2 + pick(random, 2000)) + tail;
  }
  return text + "}";
}

std::string string_schema(Random& random) {
  switch (pick(random, 5)) {
    case 0:
      return R"({"type": "string"})";
    case 1: {
      const int least = pick(random, 4);
      return R"({"type": "string", "minLength": )" + std::to_string(least) + R"(, "maxLength": )" +
             std::to_string(least + pick(random, 5)) + "}";
    }
    case 2:
      return R"({"type": "string", "pattern": "^[A-C]{2,3}(-\\d+)?$"})";
    case 3:
      return R"({"enum": ["a", "ab", "é\n", "b\"c", 7, null, [1, {"k": "v"}]]})";
    default:
      return R"({"const": "fixed é"})";
  }
}

std::string object_schema(Random& random, int depth) {
  std::string properties, required;
  const int count = pick(random, 4);
  for (int i = 0; i < count; ++i) {
    const std::string name = std::string(1, static_cast<char>('a' + i)) + (i == 2 ? "é" : "");
    properties += (i > 0 ? ", \"" : "\"") + name + "\": " + random_schema(random, depth - 1);
    if (pick(random, 2) == 0) required += (required.empty() ? "\"" : ", \"") + name + "\"";
  }
  std::string text =
      R"({"type": "object", "properties": {)" + properties + R"(}, "required": [)" + required + "]";
  if (pick(random, 3) == 0) text += R"(, "additionalProperties": )" + random_schema(random, 0);
  if (pick(random, 3) == 0 && text.find("additional") == std::string::npos) {
    text += R"(, "additionalProperties": false)";
  }
  return text + "}";
}

std::string array_schema(Random& random, int depth) {
  std::string text = R"({"type": "array", "items": )" + random_schema(random, depth - 1);
  const int least = pick(random, 3);
  if (pick(random, 2) == 0) text += R"(, "minItems": )" + std::to_string(least);
  if (pick(random, 2) == 0) text += R"(, "maxItems": )" + std::to_string(least + pick(random, 3));
  if (pick(random, 3) == 0) {
    text +=
        R"(, "prefixItems": [)" + random_schema(random, 0) + ", " + random_schema(random, 0) + "]";
  }
  return text + "}";
}

}  // namespace

std::string random_schema(Random& random, int depth) {
  const int kind = pick(random, depth > 0 ? 8 : 4);
  switch (kind) {
    case 0:
      return number_schema(random);
    case 1:
    case 2:
      return string_schema(random);
    case 3:
      return pick(random, 2) == 0 ? R"({"type": ["boolean", "null"]})" : "true";
    case 4:
    case 5:
      return object_schema(random, depth);
    case 6:
      return array_schema(random, depth);
    default:
      return R"({"anyOf": [)" + random_schema(random, depth - 1) + ", " +
             random_schema(random, depth - 1) + "]}";
  }
}

// ---- a validator

namespace {

bool equal(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return a.as_number("a") == b.as_number("b");
  if (a.kind() != b.kind()) return false;
  if (a.is_string()) return a.as_string("a") == b.as_string("b");
  if (a.is_bool()) return a.as_bool("a") == b.as_bool("b");
  if (a.is_array()) {
    const auto left = a.as_array("a"), right = b.as_array("b");
    return std::equal(left.begin(), left.end(), right.begin(), right.end(), equal);
  }
  if (!a.is_object()) return true;
  if (a.as_object("a").size() != b.as_object("b").size()) return false;
  for (const Json::Member& member : a.as_object("a")) {
    const Json* other = b.find(member.key);
    if (other == nullptr || !equal(member.value, *other)) return false;
  }
  return true;
}

bool is_type(const Json& value, std::string_view type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "null") return value.is_null();
  if (type == "number") return value.is_number();
  return value.is_number() && std::trunc(value.as_number("v")) == value.as_number("v");
}

size_t characters(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xc0) != 0x80 ? 1 : 0;
  return count;
}

class Validator {
 public:
  Validator(const Json& schema, const Json& value, const Json& root)
      : schema_(schema), value_(value), root_(root) {}

  bool run() const {
    if (schema_.is_bool()) return schema_.as_bool("s");
    for (const Json::Member& member : schema_.as_object("s")) {
      if (!satisfies(member.key, member.value)) return false;
    }
    return true;
  }

 private:
  bool satisfies(std::string_view keyword, const Json& wanted) const {
    if (keyword == "type") return has_type(wanted);
    if (keyword == "const") return equal(value_, wanted);
    if (keyword == "enum")
      return any_of(wanted, [&](const Json& one) { return equal(one, value_); });
    if (keyword == "anyOf" || keyword == "oneOf") {
      return any_of(wanted, [&](const Json& one) { return validates(one, value_, root_); });
    }
    if (keyword == "$ref") {
      const std::string_view name = wanted.as_string("s");
      const bool whole = name == "#";
      return validates(whole ? root_ : *root_.find("$defs")->find(name.substr(8)), value_, root_);
    }
    if (keyword == "$defs" || keyword == "title" || keyword == "description") return true;
    if (value_.is_object()) return object(keyword, wanted);
    if (value_.is_array()) return array(keyword, wanted);
    if (value_.is_string()) return string(keyword, wanted);
    return number(keyword, wanted);
  }

  template <typename Test>
  static bool any_of(const Json& list, const Test& test) {
    const auto all = list.as_array("s");
    return std::any_of(all.begin(), all.end(), test);
  }

  bool has_type(const Json& wanted) const {
    if (wanted.is_string()) return is_type(value_, wanted.as_string("s"));
    return any_of(wanted, [&](const Json& one) { return is_type(value_, one.as_string("s")); });
  }

  bool object(std::string_view keyword, const Json& wanted) const {
    if (keyword == "required") {
      return !any_of(wanted, [&](const Json& n) { return !value_.find(n.as_string("s")); });
    }
    const Json* properties = schema_.find("properties");
    for (const Json::Member& member : value_.as_object("v")) {
      const Json* known = properties == nullptr ? nullptr : properties->find(member.key);
      if (keyword == "properties" && known && !validates(*known, member.value, root_)) return false;
      if (keyword == "additionalProperties" && !known && !validates(wanted, member.value, root_)) {
        return false;
      }
    }
    return true;
  }

  bool array(std::string_view keyword, const Json& wanted) const {
    const auto items = value_.as_array("v");
    if (keyword == "minItems") return static_cast<double>(items.size()) >= wanted.as_number("s");
    if (keyword == "maxItems") return static_cast<double>(items.size()) <= wanted.as_number("s");
    const Json* prefix = schema_.find("prefixItems");
    const size_t first = prefix == nullptr ? 0 : prefix->as_array("s").size();
    for (size_t i = 0; i < items.size(); ++i) {
      if (keyword == "prefixItems" && i < first &&
          !validates(wanted.as_array("s")[i], items[i], root_)) {
        return false;
      }
      if (keyword == "items" && i >= first && !validates(wanted, items[i], root_)) return false;
    }
    return true;
  }

  bool string(std::string_view keyword, const Json& wanted) const {
    const std::string text(value_.as_string("v"));
    const auto length = static_cast<double>(characters(text));
    if (keyword == "minLength") return length >= wanted.as_number("s");
    if (keyword == "maxLength") return length <= wanted.as_number("s");
    if (keyword != "pattern") return true;
    return std::regex_search(text, std::regex(std::string(wanted.as_string("s"))));
  }

  bool number(std::string_view keyword, const Json& wanted) const {
    if (!value_.is_number()) return true;
    const double value = value_.as_number("v");
    if (keyword == "minimum") return value >= wanted.as_number("s");
    if (keyword == "maximum") return value <= wanted.as_number("s");
    if (keyword == "exclusiveMinimum") return value > wanted.as_number("s");
    if (keyword == "exclusiveMaximum") return value < wanted.as_number("s");
    return true;
  }

  const Json& schema_;
  const Json& value_;
  const Json& root_;
};

}  // namespace

bool validates(const Json& schema, const Json& value, const Json& root) {
  return Validator(schema, value, root).run();
}

}  // namespace upg::constrain::testing
