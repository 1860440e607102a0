// What a generated text must look like: any JSON object, JSON of a schema, or a tool call.
//
//   const auto grammar = Grammar::json_schema(schema, "response_format.json_schema.schema");
//   Matcher matcher(grammar, table);      // table: of the model, see token_table.h
//   ...matcher.allows(token), mask(), advance(token), complete()                    (matcher.h)
//
// docs/constrained.md lists what of JSON Schema is supported. A text that a grammar allows is valid
// under the schema and can be read by strict parsers; not every valid text is allowed: members come
// in the order of `properties`, white space and digits are bounded, nesting ends at 64 levels.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string_view>

#include "base/json.h"
#include "constrain/machine.h"
#include "constrain/program.h"

namespace upg::constrain {

struct Tool {
  std::string_view name;
  const base::Json* parameters = nullptr;  // a schema of objects; null or {}: any object
  std::string_view where = {};             // its path: "tools[1].function.parameters"
};

// How a model writes its calls, the two JSON values aside (tokenizer/tool_formats.h).
struct ToolCallText {
  std::string_view before_name;       // {"name":
  std::string_view before_arguments;  // , "arguments":
  std::string_view after;             // }
  std::string_view open;              // [ around all calls; may be empty
  std::string_view separator;         // between calls
  std::string_view close;
  int max_calls = 1;
};

// Immutable as seen from outside; thread-safe. Each maker throws Error(kUsage).
class Grammar {
 public:
  static std::shared_ptr<const Grammar> json_object();  // the same one for all
  // where: what the messages of errors call the schema. The error names the path in it: "WHERE.
  // properties.age: `multipleOf` is not supported". `schema` is not looked at afterwards.
  static std::shared_ptr<const Grammar> json_schema(const base::Json& schema,
                                                    std::string_view where);
  // One call, or up to max_calls, of any of the tools.
  static std::shared_ptr<const Grammar> tool_calls(std::span<const Tool> tools,
                                                   const ToolCallText& text);

  // For Matcher and tests.
  const Program& program() const noexcept { return program_; }

 private:
  friend class Matcher;
  explicit Grammar(Program program, std::string_view where);

  // The machine to go on with, mutex_ held: a new one when the old remembers too much. Matchers
  // keep theirs until they move.
  const std::shared_ptr<Machine>& machine() const;

  Program program_;
  mutable std::mutex mutex_;  // of all machines of this grammar
  mutable std::shared_ptr<Machine> machine_;
};

}  // namespace upg::constrain
