// Schemas of single values: enum and const, strings, numbers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "constrain/number_range.h"
#include "constrain/pattern.h"
#include "constrain/schema_compiler.h"
#include "constrain/trie.h"

namespace upg::constrain {
namespace {

constexpr int64_t kMaxCount = 65536;

// Formats of the standard that are not checked here; others have no meaning in it.
constexpr std::string_view kUnsupportedFormats[] = {
    "idn-email",    "idn-hostname",          "iri",   "iri-reference", "uri-reference",
    "uri-template", "relative-json-pointer", "regex", "json-pointer"};

bool has_type(const base::Json& value, std::string_view type) {
  using Kind = base::Json::Kind;
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "null") return value.is_null();
  if (type == "number") return value.is_number();
  return value.is_integer() || (value.kind() == Kind::kDouble &&
                                std::trunc(value.as_number(type)) == value.as_number(type));
}

}  // namespace

// ---- enum and const

Label SchemaCompiler::one_of_values(const Json& schema, const std::string& path) {
  const std::string_view keyword = schema.find("const") != nullptr ? "const" : "enum";
  check_alone(schema, keyword, path, {"type", "nullable", "enum"});
  const Json* both = keyword == "const" ? schema.find("enum") : nullptr;
  if (both != nullptr && !(both->is_array() && both->as_array(path).size() == 1)) {
    refuse_schema(path, "`enum` of several values beside `const` is not supported");
  }
  const Json& listed = *schema.find(keyword);
  if (keyword == "enum" && (!listed.is_array() || listed.as_array(path).empty())) {
    refuse_schema(path + ".enum",
                  fmt::format("found {}, allowed is a list of values", listed.describe()));
  }
  const auto values = keyword == "enum" ? listed.as_array(path) : std::span(&listed, 1);
  const std::vector<std::string_view> wanted = types(schema, path);
  std::vector<std::string_view> texts;
  std::vector<Label> ways;
  for (const Json& value : values) {
    const bool fits = wanted.empty() || std::any_of(wanted.begin(), wanted.end(), [&](auto type) {
                        return has_type(value, type);
                      });
    if (!fits) continue;
    if (value.is_string()) {
      texts.push_back(value.as_string(path));
    } else {
      ways.push_back(builder_.call(constant(value), builder_.accept()));
    }
  }
  if (!texts.empty()) ways.push_back(strings(texts));
  if (ways.empty()) {
    refuse_schema(fmt::format("{}.{}", path, keyword), "no value has the `type` beside it");
  }
  return builder_.any_of(ways);
}

// One of several strings: what they begin with in common is written once.
Label SchemaCompiler::strings(const std::vector<std::string_view>& values) {
  Trie trie;
  for (const std::string_view value : values) {
    std::vector<uint8_t> bytes;
    for (const char c : escaped_text(value)) bytes.push_back(static_cast<uint8_t>(c));
    trie.add(bytes);
  }
  const Label end = builder_.byte('"', builder_.accept());
  std::vector<Label> labels(trie.nodes().size());
  for (size_t i = labels.size(); i-- > 0;) {
    Label here = trie.nodes()[i].ends ? end : builder_.fail();
    for (const auto& [unit, child] : trie.nodes()[i].children) {
      const auto byte = static_cast<uint8_t>(unit);
      here = builder_.either(builder_.byte(byte, byte, labels[child]), here);
    }
    labels[i] = here;
  }
  return builder_.byte('"', labels[0]);
}

// A rule for exactly this value; members in its order. As deep as the value is nested.
Label SchemaCompiler::constant(const Json& value) {
  const Label end = builder_.accept();
  if (value.is_string()) return rules_.text(value.as_string("const"), end);
  if (value.is_array()) {
    Label at = builder_.byte(']', end);
    const auto items = value.as_array("const");
    for (size_t i = items.size(); i-- > 0;) {
      at = rules_.space(builder_.call(constant(items[i]), at));
      if (i > 0) at = builder_.byte(',', at);
    }
    return builder_.byte('[', at);
  }
  if (value.is_object()) {
    Label at = builder_.byte('}', end);
    const auto members = value.as_object("const");
    for (size_t i = members.size(); i-- > 0;) {
      const Label key = rules_.text(members[i].key, end);
      at = rules_.space(rules_.member(key, constant(members[i].value), at));
      if (i > 0) at = builder_.byte(',', at);
    }
    return builder_.byte('{', at);
  }
  return builder_.literal(value.describe(), end);
}

// ---- strings and numbers

// Of things: `least` and `most` are the keywords' names.
SchemaCompiler::Counts SchemaCompiler::counts(const Json& schema, std::string_view least,
                                              std::string_view most,
                                              const std::string& path) const {
  const auto read = [&](std::string_view keyword, int otherwise) {
    const Json* found = schema.find(keyword);
    if (found == nullptr) return otherwise;
    const bool fits = found->is_number() && found->as_number(path) >= 0 &&
                      found->as_number(path) <= kMaxCount &&
                      std::trunc(found->as_number(path)) == found->as_number(path);
    if (!fits) {
      refuse_schema(
          fmt::format("{}.{}", path, keyword),
          fmt::format("found {}, allowed are integers from 0 to {}", found->describe(), kMaxCount));
    }
    return static_cast<int>(found->as_number(path));
  };
  return {read(least, 0), read(most, -1)};
}

Label SchemaCompiler::string_of(const Json& schema, const std::string& path) {
  const auto [least, most] = counts(schema, "minLength", "maxLength", path);
  const auto text_of = [&](std::string_view keyword) -> std::string_view {
    const Json* found = schema.find(keyword);
    if (found == nullptr) return {};
    if (!found->is_string()) {
      refuse_schema(fmt::format("{}.{}", path, keyword),
                    fmt::format("found {}, allowed is a string", found->describe()));
    }
    return found->as_string(path);
  };
  const std::string_view format = text_of("format");
  if (std::find(std::begin(kUnsupportedFormats), std::end(kUnsupportedFormats), format) !=
      std::end(kUnsupportedFormats)) {
    refuse_schema(path + ".format", fmt::format("`{}` is not supported", format));
  }
  const bool has_pattern = schema.find("pattern") != nullptr;
  const std::string_view format_pattern = pattern_of_format(format);
  if (has_pattern && !format_pattern.empty()) {
    refuse_schema(path, "`pattern` beside `format` is not supported");
  }
  if (most >= 0 && most < least) return builder_.fail();
  const Label end = builder_.byte('"', builder_.accept());
  const std::string_view pattern = has_pattern ? text_of("pattern") : format_pattern;
  if (!has_pattern && pattern.empty()) {
    if (least == 0 && most < 0) return builder_.call(rules_.string(), builder_.accept());
    return builder_.byte('"', builder_.repeat(rules_.characters().any(), least, most, end));
  }
  const auto [slot, is_new] =
      scalars_.try_emplace(fmt::format("{} {} {}", least, most, pattern), 0);
  if (is_new) {
    const std::string place = path + (has_pattern ? ".pattern" : ".format");
    slot->second = builder_.byte(
        '"', compile_pattern(builder_, rules_.characters(), pattern, {least, most}, place, end));
  }
  return builder_.call(slot->second, builder_.accept());
}

Label SchemaCompiler::number_of(bool integer, const Json& schema, const std::string& path) {
  std::string signature = integer ? "integer" : "number";
  const auto bound = [&](std::string_view keyword, bool excluded) -> std::optional<Bound> {
    const Json* found = schema.find(keyword);
    if (found == nullptr) return std::nullopt;
    const auto value = found->is_number() ? decimal_of(*found) : std::nullopt;
    if (!value) {
      refuse_schema(
          fmt::format("{}.{}", path, keyword),
          fmt::format("found {}, allowed are numbers of up to 18 digits", found->describe()));
    }
    signature += fmt::format(" {} {}", keyword, found->describe());
    return Bound{*value, excluded};
  };
  const auto only_one = [&](const std::optional<Bound>& a, const std::optional<Bound>& b,
                            std::string_view names) {
    if (a && b) refuse_schema(path, fmt::format("{} together are not supported", names));
    return a ? a : b;
  };
  const auto low = only_one(bound("minimum", false), bound("exclusiveMinimum", true),
                            "`minimum` and `exclusiveMinimum`");
  const auto high = only_one(bound("maximum", false), bound("exclusiveMaximum", true),
                             "`maximum` and `exclusiveMaximum`");
  if (!low && !high) {
    return builder_.call(integer ? rules_.integer() : rules_.number(), builder_.accept());
  }
  const auto [slot, is_new] = scalars_.try_emplace(signature, 0);
  if (is_new) slot->second = number_between(builder_, integer, low, high, builder_.accept());
  return builder_.call(slot->second, builder_.accept());
}

}  // namespace upg::constrain
