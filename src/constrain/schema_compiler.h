// The compiler behind schema.h. Every schema becomes a rule of its own, compiled once, whoever
// refers to it; bodies wait in a queue, so that no chain of references deepens the C++ stack.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "constrain/json_rules.h"

namespace upg::constrain {

class SchemaCompiler {
 public:
  SchemaCompiler(ProgramBuilder& builder, JsonRules& rules, const base::Json& root,
                 std::string_view where)
      : builder_(builder), rules_(rules), root_(root), where_(where) {}

  Label compile();

 private:
  using Json = base::Json;
  struct Pending {
    const Json* schema;
    std::string path;
    Label rule;
  };
  struct Counts {
    int least = 0;
    int most = -1;  // no limit
  };

  // ---- schema.cc: which kind of schema it is
  Label rule(const Json& schema, const std::string& path);
  Label body(const Json& schema, const std::string& path);
  const Json* follow_references(const Json* schema, std::string& path);
  const Json& resolve(std::string_view reference, const std::string& path);
  const Json* member(const Json& object, std::string_view key);
  Label alternatives(const Json& schema, std::string_view keyword, const std::string& path);
  Label of_types(const Json& schema, const std::string& path);
  Label of_type(std::string_view type, const Json& schema, const std::string& path);
  std::vector<std::string_view> types(const Json& schema, const std::string& path) const;
  void check_keywords(const Json& schema, const std::string& path) const;
  void check_alone(const Json& schema, std::string_view keyword, const std::string& path,
                   std::initializer_list<std::string_view> also) const;

  // ---- schema_values.cc: enum and const, scalars
  Label constant(const Json& value);
  Label one_of_values(const Json& schema, const std::string& path);
  Label strings(const std::vector<std::string_view>& values);
  Label string_of(const Json& schema, const std::string& path);
  Label number_of(bool integer, const Json& schema, const std::string& path);
  Counts counts(const Json& schema, std::string_view least, std::string_view most,
                const std::string& path) const;

  // ---- schema_containers.cc
  struct Property {
    std::string_view name;
    Label value;
    bool required;
  };
  Label object_of(const Json& schema, const std::string& path);
  std::vector<Property> properties(const Json& schema, const std::string& path, Label others);
  Label names_of(const Json& schema, const std::string& path);
  Label object_with(const std::vector<Property>& properties, Label others);
  Label other_key(const std::vector<Property>& properties);
  Label array_of(const Json& schema, const std::string& path);

  ProgramBuilder& builder_;
  JsonRules& rules_;
  const Json& root_;
  std::string where_;
  std::deque<Pending> pending_;
  std::unordered_map<const Json*, Label> known_;
  std::unordered_map<const Json*, std::unordered_map<std::string_view, const Json*>> members_;
  std::map<std::string, Label> scalars_;  // rules by what they are made of
};

// "`KEYWORD`" at its place: throws Error(kUsage) "PATH: WHAT".
[[noreturn]] void refuse_schema(std::string_view path, std::string_view what);

}  // namespace upg::constrain
