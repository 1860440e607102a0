#include "constrain/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "constrain/schema_compiler.h"
#include "upg/error.h"

namespace upg::constrain {
namespace {

constexpr int kMaxReferences = 64;  // from one to the next without anything between

// What narrows the values of a schema and is not supported. All that is not known here is ignored,
// as the standard says.
constexpr std::string_view kUnsupported[] = {"multipleOf",
                                             "uniqueItems",
                                             "contains",
                                             "minContains",
                                             "maxContains",
                                             "minProperties",
                                             "maxProperties",
                                             "patternProperties",
                                             "dependentRequired",
                                             "dependentSchemas",
                                             "dependencies",
                                             "if",
                                             "then",
                                             "else",
                                             "not",
                                             "additionalItems",
                                             "unevaluatedProperties",
                                             "unevaluatedItems",
                                             "$dynamicRef",
                                             "$recursiveRef",
                                             "$dynamicAnchor"};

// What narrows the values and is supported, with the type that it is about.
struct Keyword {
  std::string_view name;
  std::string_view type;  // empty: any
};
constexpr std::array kKeywords{
    Keyword{"type", ""},
    Keyword{"enum", ""},
    Keyword{"const", ""},
    Keyword{"anyOf", ""},
    Keyword{"oneOf", ""},
    Keyword{"allOf", ""},
    Keyword{"$ref", ""},
    Keyword{"nullable", ""},
    Keyword{"properties", "object"},
    Keyword{"required", "object"},
    Keyword{"additionalProperties", "object"},
    Keyword{"propertyNames", "object"},
    Keyword{"items", "array"},
    Keyword{"prefixItems", "array"},
    Keyword{"minItems", "array"},
    Keyword{"maxItems", "array"},
    Keyword{"minLength", "string"},
    Keyword{"maxLength", "string"},
    Keyword{"pattern", "string"},
    Keyword{"format", "string"},
    Keyword{"minimum", "number"},
    Keyword{"maximum", "number"},
    Keyword{"exclusiveMinimum", "number"},
    Keyword{"exclusiveMaximum", "number"},
};

const Keyword* find_keyword(std::string_view name) {
  const auto* found = std::find_if(kKeywords.begin(), kKeywords.end(),
                                   [&](const Keyword& k) { return k.name == name; });
  return found == kKeywords.end() ? nullptr : found;
}

// A keyword that says what any value satisfies narrows nothing.
bool says_nothing(std::string_view keyword, const base::Json& value) {
  if (keyword == "uniqueItems") return value.is_bool() && !value.as_bool(keyword);
  if (keyword == "minProperties" || keyword == "minContains") {
    return value.kind() == base::Json::Kind::kInteger && value.describe() == "0";
  }
  return false;
}

constexpr std::array<std::string_view, 7> kTypes{"object",  "array",   "string", "number",
                                                 "integer", "boolean", "null"};

}  // namespace

void refuse_schema(std::string_view path, std::string_view what) {
  throw Error(ErrorCode::kUsage, fmt::format("{}: {}", path, what));
}

Label compile_schema(ProgramBuilder& builder, JsonRules& rules, const base::Json& schema,
                     std::string_view where) {
  return SchemaCompiler(builder, rules, schema, where).compile();
}

Label SchemaCompiler::compile() {
  const Label start = rule(root_, where_);
  while (!pending_.empty()) {
    const Pending next = std::move(pending_.front());
    pending_.pop_front();
    builder_.set_where(next.path);
    builder_.lead(next.rule, body(*next.schema, next.path));
  }
  return start;
}

// The rule of a schema; its body is compiled later.
Label SchemaCompiler::rule(const Json& schema, const std::string& path) {
  std::string place = path;
  const Json* target = follow_references(&schema, place);
  if (target->is_bool() && !target->as_bool(place)) return builder_.fail();
  const auto [slot, is_new] = known_.try_emplace(target, 0);
  if (is_new) {
    slot->second = builder_.placeholder();
    pending_.push_back({target, std::move(place), slot->second});
  }
  return slot->second;
}

Label SchemaCompiler::body(const Json& schema, const std::string& path) {
  if (schema.is_bool()) return builder_.call(rules_.any_value(), builder_.accept());
  if (!schema.is_object()) {
    refuse_schema(path, fmt::format("found {}, allowed is a schema: an object, true or false",
                                    schema.describe()));
  }
  check_keywords(schema, path);
  const auto at = [&](std::string_view keyword) { return schema.find(keyword) != nullptr; };
  Label all;
  if (at("enum") || at("const")) {
    all = one_of_values(schema, path);
  } else if (at("anyOf")) {
    all = alternatives(schema, "anyOf", path);
  } else if (at("oneOf")) {
    all = alternatives(schema, "oneOf", path);
  } else if (at("allOf")) {
    all = alternatives(schema, "allOf", path);
  } else {
    all = of_types(schema, path);
  }
  const Json* nullable = schema.find("nullable");
  if (nullable != nullptr && !nullable->is_bool()) {
    refuse_schema(path + ".nullable",
                  fmt::format("found {}, allowed are true and false", nullable->describe()));
  }
  if (nullable == nullptr || !nullable->as_bool(path)) return all;
  return builder_.either(all, builder_.literal("null", builder_.accept()));
}

void SchemaCompiler::check_keywords(const Json& schema, const std::string& path) const {
  for (const Json::Member& member : schema.as_object(path)) {
    const auto* end = std::end(kUnsupported);
    const bool unsupported = std::find(std::begin(kUnsupported), end, member.key) != end;
    if (unsupported && !says_nothing(member.key, member.value)) {
      refuse_schema(path, fmt::format("`{}` is not supported", member.key));
    }
  }
}

// Only `keyword` and those of `also` narrow the values of this schema.
void SchemaCompiler::check_alone(const Json& schema, std::string_view keyword,
                                 const std::string& path,
                                 std::initializer_list<std::string_view> also) const {
  for (const Json::Member& member : schema.as_object(path)) {
    if (member.key == keyword || find_keyword(member.key) == nullptr) continue;
    if (std::find(also.begin(), also.end(), member.key) != also.end()) continue;
    refuse_schema(path, fmt::format("`{}` beside `{}` is not supported", member.key, keyword));
  }
}

// ---- references

const base::Json* SchemaCompiler::follow_references(const Json* schema, std::string& path) {
  for (int i = 0; i < kMaxReferences; ++i) {
    const Json* reference = schema->find("$ref");
    if (reference == nullptr) return schema;
    check_keywords(*schema, path);
    check_alone(*schema, "$ref", path, {});
    if (!reference->is_string()) {
      refuse_schema(path + ".$ref",
                    fmt::format("found {}, allowed is a string", reference->describe()));
    }
    const std::string_view target = reference->as_string(path);
    schema = &resolve(target, path);
    path = fmt::format("{}{}", where_, base::printable(target));
  }
  refuse_schema(path, fmt::format("more than {} references one behind the other: they may never "
                                  "reach a schema",
                                  kMaxReferences));
}

// A JSON pointer in the same document: #, #/$defs/name, ...
const base::Json& SchemaCompiler::resolve(std::string_view reference, const std::string& path) {
  const auto unknown = [&] {
    refuse_schema(path + ".$ref",
                  fmt::format("found \"{}\", which leads nowhere; allowed are #, #/$defs/NAME and "
                              "other paths in this schema",
                              base::printable(reference)));
  };
  if (!reference.starts_with('#')) unknown();
  const Json* at = &root_;
  std::string_view rest = reference.substr(1);
  while (!rest.empty()) {
    if (rest[0] != '/') unknown();
    const size_t end = std::min(rest.find('/', 1), rest.size());
    std::string key(rest.substr(1, end - 1));
    for (const auto& [code, letter] : {std::pair("~1", "/"), std::pair("~0", "~")}) {
      for (size_t i = key.find(code); i != std::string::npos; i = key.find(code, i + 1)) {
        key.replace(i, 2, letter);
      }
    }
    rest.remove_prefix(end);
    at = member(*at, key);
    if (at == nullptr) unknown();
  }
  return *at;
}

// Of an object, or the element of an array with that number; null when there is none. Large objects
// are indexed, so that many references stay linear.
const base::Json* SchemaCompiler::member(const Json& object, std::string_view key) {
  constexpr size_t kSmall = 16;
  if (object.is_array()) {
    const auto items = object.as_array(key);
    const bool is_index = !key.empty() && key.size() < 9 &&
                          key.find_first_not_of("0123456789") == std::string_view::npos;
    const size_t index = is_index ? std::stoul(std::string(key)) : items.size();
    return index < items.size() ? &items[index] : nullptr;
  }
  if (!object.is_object()) return nullptr;
  const auto all = object.as_object(key);
  if (all.size() <= kSmall) return object.find(key);
  auto& index = members_[&object];
  if (index.empty()) {
    for (const Json::Member& one : all) index.emplace(one.key, &one.value);
  }
  const auto found = index.find(key);
  return found == index.end() ? nullptr : found->second;
}

// ---- alternatives and types

Label SchemaCompiler::alternatives(const Json& schema, std::string_view keyword,
                                   const std::string& path) {
  check_alone(schema, keyword, path, {"nullable"});
  const std::string place = fmt::format("{}.{}", path, keyword);
  const Json& list = *schema.find(keyword);
  if (!list.is_array() || list.as_array(place).empty()) {
    refuse_schema(place, fmt::format("found {}, allowed is a list of schemas", list.describe()));
  }
  const auto items = list.as_array(place);
  if (keyword == "allOf" && items.size() > 1) {
    refuse_schema(place, fmt::format("found {} schemas, allowed is one", items.size()));
  }
  std::vector<Label> ways;
  for (size_t i = 0; i < items.size(); ++i) {
    ways.push_back(
        builder_.call(rule(items[i], fmt::format("{}[{}]", place, i)), builder_.accept()));
  }
  return builder_.any_of(ways);
}

// Those that `type` names; without it those that the other keywords are about; else any.
std::vector<std::string_view> SchemaCompiler::types(const Json& schema,
                                                    const std::string& path) const {
  std::vector<std::string_view> found;
  const auto add = [&](std::string_view type) {
    if (std::find(found.begin(), found.end(), type) == found.end()) found.push_back(type);
  };
  const auto add_checked = [&](const Json& type) {
    if (!type.is_string() ||
        std::find(kTypes.begin(), kTypes.end(), type.as_string(path)) == kTypes.end()) {
      refuse_schema(path + ".type", fmt::format("found {}, allowed are {}", type.describe(),
                                                fmt::join(kTypes, ", ")));
    }
    add(type.as_string(path));
  };
  const Json* type = schema.find("type");
  if (type != nullptr && type->is_array()) {
    for (const Json& one : type->as_array(path)) add_checked(one);
  } else if (type != nullptr) {
    add_checked(*type);
  } else {
    for (const Json::Member& member : schema.as_object(path)) {
      const Keyword* keyword = find_keyword(member.key);
      if (keyword != nullptr && !keyword->type.empty()) add(keyword->type);
    }
  }
  return found;
}

Label SchemaCompiler::of_types(const Json& schema, const std::string& path) {
  const std::vector<std::string_view> wanted = types(schema, path);
  if (wanted.empty() && schema.find("type") == nullptr) {
    return builder_.call(rules_.any_value(), builder_.accept());
  }
  std::vector<Label> ways;
  for (const std::string_view type : wanted) ways.push_back(of_type(type, schema, path));
  return builder_.any_of(ways);
}

Label SchemaCompiler::of_type(std::string_view type, const Json& schema, const std::string& path) {
  const Label end = builder_.accept();
  if (type == "object") return object_of(schema, path);
  if (type == "array") return array_of(schema, path);
  if (type == "string") return string_of(schema, path);
  if (type == "number") return number_of(false, schema, path);
  if (type == "integer") return number_of(true, schema, path);
  if (type == "null") return builder_.literal("null", end);
  return builder_.either(builder_.literal("true", end), builder_.literal("false", end));
}

}  // namespace upg::constrain
