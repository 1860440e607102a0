// Schemas of objects and arrays.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "base/text.h"
#include "constrain/schema_compiler.h"
#include "constrain/trie.h"

namespace upg::constrain {
namespace {

std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> all;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    char32_t code = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t k = 1; k < length; ++k) {
      code = code << 6 | (static_cast<uint8_t>(text[i + k]) & 0x3f);
    }
    all.push_back(code);
    i += length;
  }
  return all;
}

}  // namespace

// ---- objects

Label SchemaCompiler::object_of(const Json& schema, const std::string& path) {
  const Json* additional = schema.find("additionalProperties");
  const bool has_properties =
      schema.find("properties") != nullptr || schema.find("required") != nullptr;
  // Without a word about it, an object with named properties has no others.
  Label others = builder_.fail();
  if (additional != nullptr) {
    others = rule(*additional, path + ".additionalProperties");
  } else if (!has_properties) {
    others = rules_.any_value();
  }
  const Json* names = schema.find("propertyNames");
  if (names == nullptr) return object_with(properties(schema, path, others), others);
  if (has_properties) {
    refuse_schema(path, "`propertyNames` beside `properties` or `required` is not supported");
  }
  const Label key = names_of(*names, path + ".propertyNames");
  return rules_.list('{', rules_.member(key, others, builder_.accept()), '}', builder_.accept());
}

// The rule of a schema for names, which has to be one of strings.
Label SchemaCompiler::names_of(const Json& schema, const std::string& path) {
  std::string place = path;
  const Json* target = follow_references(&schema, place);
  if (target->is_bool()) return target->as_bool(place) ? rules_.string() : builder_.fail();
  const Label names = rule(*target, place);
  if (!target->is_object()) return names;  // compiling it says what is wrong
  const auto is_string = [](const Json& value) { return value.is_string(); };
  const Json* values = target->find("enum");
  const Json* value = target->find("const");
  const std::vector<std::string_view> kinds = types(*target, place);
  bool strings = kinds.size() == 1 && kinds[0] == "string";
  if (values != nullptr && values->is_array()) {
    const auto all = values->as_array(place);
    strings = strings || std::all_of(all.begin(), all.end(), is_string);
  }
  if (value != nullptr) strings = strings || is_string(*value);
  if (!strings || target->find("nullable") != nullptr) {
    refuse_schema(place, "allowed are schemas of strings: of `type` string, or an `enum` of them");
  }
  return names;
}

std::vector<SchemaCompiler::Property> SchemaCompiler::properties(const Json& schema,
                                                                 const std::string& path,
                                                                 Label others) {
  const std::string place = path + ".properties";
  std::unordered_set<std::string_view> required;
  std::vector<std::string_view> required_in_order;
  if (const Json* list = schema.find("required")) {
    const bool is_list =
        list->is_array() && std::all_of(list->as_array(path).begin(), list->as_array(path).end(),
                                        [](const Json& j) { return j.is_string(); });
    if (!is_list) {
      refuse_schema(path + ".required",
                    fmt::format("found {}, allowed is a list of names", list->describe()));
    }
    for (const Json& name : list->as_array(path)) {
      if (required.insert(name.as_string(path)).second) {
        required_in_order.push_back(name.as_string(path));
      }
    }
  }
  std::vector<Property> all;
  std::unordered_set<std::string_view> named;
  if (const Json* listed = schema.find("properties")) {
    if (!listed->is_object()) {
      refuse_schema(place, fmt::format("found {}, allowed is an object", listed->describe()));
    }
    for (const Json::Member& one : listed->as_object(place)) {
      const Label value = rule(one.value, fmt::format("{}.{}", place, base::printable(one.key)));
      all.push_back({one.key, value, required.contains(one.key)});
      named.insert(one.key);
    }
  }
  for (const std::string_view name : required_in_order) {
    if (named.contains(name)) continue;
    if (schema.find("additionalProperties") != nullptr && others == builder_.fail()) {
      refuse_schema(path + ".required",
                    fmt::format("\"{}\" is not among the `properties`", base::printable(name)));
    }
    all.push_back({name, others == builder_.fail() ? rules_.any_value() : others, true});
  }
  return all;
}

// `others`: the rule of further members' values, or fail().
Label SchemaCompiler::object_with(const std::vector<Property>& properties, Label others) {
  ProgramBuilder& b = builder_;
  const Label end = b.byte('}', b.accept());
  const Label close = rules_.space(end);
  // Where the next key begins, and where the one before has its value, from the last property to
  // the first. Members come in the order of the properties.
  Label key = b.fail();
  Label behind = close;
  if (others != b.fail()) {
    const Label more = b.placeholder();
    key = rules_.member(other_key(properties), others, more);
    behind = b.either(b.byte(',', rules_.space(key)), close);
    b.lead(more, behind);
  }
  bool may_close = true;  // all that follow are optional
  for (size_t i = properties.size(); i-- > 0;) {
    const Property& property = properties[i];
    const Label value = b.byte(':', rules_.space(b.call(property.value, behind)));
    key = b.either(rules_.text(property.name, value), property.required ? b.fail() : key);
    may_close = may_close && !property.required;
    const Label more = b.byte(',', rules_.space(key));
    behind = may_close ? b.either(more, close) : more;
  }
  return b.byte('{', rules_.space(may_close ? b.either(key, end) : key));
}

// A key that is none of the properties, written without escapes.
Label SchemaCompiler::other_key(const std::vector<Property>& properties) {
  if (properties.empty()) return rules_.string();
  static const CharacterSet ascii{{' ', '!'}, {'#', '['}, {']', 0x7f}};
  static const CharacterSet beyond{{0x80, kLastCharacter}};
  ProgramBuilder& b = builder_;
  Trie trie;
  for (const Property& property : properties) trie.add(code_points(property.name));
  const Label end = b.byte('"', b.accept());
  const Label tail = b.placeholder();  // no name begins like this any more
  const Label beyond_tail = utf8_character(b, beyond, tail);
  b.lead(tail, b.any_of(std::vector{utf8_character(b, ascii, tail), beyond_tail, end}));

  std::vector<Label> labels(trie.nodes().size());
  for (size_t i = labels.size(); i-- > 0;) {
    const Trie::Node& node = trie.nodes()[i];
    CharacterSet children;
    Label here = node.ends ? b.fail() : end;
    bool all_ascii = true;
    for (const auto& [character, child] : node.children) {
      children.add(character, character);
      all_ascii = all_ascii && character < 0x80;
      const bool plain = ascii.contains(character) || beyond.contains(character);
      if (plain) here = b.either(utf8_character(b, {{character, character}}, labels[child]), here);
    }
    const Label others =
        all_ascii ? beyond_tail : utf8_character(b, beyond.without(children), tail);
    const Label near = utf8_character(b, ascii.without(children), tail);
    labels[i] = b.either(here, b.either(near, others));
  }
  return b.byte('"', labels[0]);
}

// ---- arrays

Label SchemaCompiler::array_of(const Json& schema, const std::string& path) {
  ProgramBuilder& b = builder_;
  auto [least, most] = counts(schema, "minItems", "maxItems", path);
  std::vector<Label> first;
  if (const Json* prefix = schema.find("prefixItems")) {
    const std::string place = path + ".prefixItems";
    if (!prefix->is_array()) {
      refuse_schema(place,
                    fmt::format("found {}, allowed is a list of schemas", prefix->describe()));
    }
    for (const Json& item : prefix->as_array(place)) {
      first.push_back(rule(item, fmt::format("{}[{}]", place, first.size())));
    }
  }
  Label item = rules_.any_value();
  if (const Json* items = schema.find("items")) item = rule(*items, path + ".items");
  if (item == b.fail()) {  // nothing behind the first ones
    const int all = static_cast<int>(first.size());
    most = most < 0 ? all : std::min(most, all);
  }
  if (most >= 0 && most < least) return b.fail();

  // From the last element to the first; without a limit the last one repeats.
  const int last = most >= 0 ? most : std::max({least, static_cast<int>(first.size()), 1});
  const auto element = [&](int i) {
    return static_cast<size_t>(i) < first.size() ? first[static_cast<size_t>(i)] : item;
  };
  const Label end = b.byte(']', b.accept());
  const Label close = rules_.space(end);
  Label behind = close;
  if (most < 0) {
    const Label more = b.placeholder();
    behind = b.either(b.byte(',', rules_.space(b.call(item, more))), close);
    b.lead(more, behind);
  }
  for (int i = last - 1; i > 0; --i) {
    const Label more = b.byte(',', rules_.space(b.call(element(i), behind)));
    behind = i >= least ? b.either(more, close) : more;
  }
  const Label one = last > 0 ? b.call(element(0), behind) : b.fail();
  return b.byte('[', rules_.space(least == 0 ? b.either(one, end) : one));
}

}  // namespace upg::constrain
