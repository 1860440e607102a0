#include "constrain/grammar.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "constrain/builder.h"
#include "constrain/json_rules.h"
#include "constrain/schema.h"
#include "upg/error.h"

namespace upg::constrain {
namespace {

// {} and true would let a call's arguments be anything; they are always an object.
bool says_nothing(const base::Json* schema) {
  return schema == nullptr || (schema->is_bool() && schema->as_bool("parameters")) ||
         (schema->is_object() && schema->as_object("parameters").empty());
}

}  // namespace

Grammar::Grammar(Program program, std::string_view where)
    : program_(std::move(program)), machine_(std::make_shared<Machine>(program_)) {
  if (!machine_->goes_on(machine_->start())) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: no text of at most {} levels satisfies it", where, kMaxDepth));
  }
}

const std::shared_ptr<Machine>& Grammar::machine() const {
  if (machine_->is_full()) machine_ = std::make_shared<Machine>(program_);
  return machine_;
}

std::shared_ptr<const Grammar> Grammar::json_object() {
  static const std::shared_ptr<const Grammar> shared = [] {
    ProgramBuilder builder("response_format");
    const Label start = JsonRules(builder).any_object();
    return std::shared_ptr<const Grammar>(new Grammar(builder.finish(start), "response_format"));
  }();
  return shared;
}

std::shared_ptr<const Grammar> Grammar::json_schema(const base::Json& schema,
                                                    std::string_view where) {
  ProgramBuilder builder(where);
  JsonRules rules(builder);
  const Label start = compile_schema(builder, rules, schema, where);
  return std::shared_ptr<const Grammar>(new Grammar(builder.finish(start), where));
}

std::shared_ptr<const Grammar> Grammar::tool_calls(std::span<const Tool> tools,
                                                   const ToolCallText& text) {
  ProgramBuilder builder("tools");
  JsonRules rules(builder);
  Label one = builder.fail();
  for (size_t i = tools.size(); i-- > 0;) {
    const Tool& tool = tools[i];
    const Label arguments = says_nothing(tool.parameters)
                                ? rules.any_object()
                                : compile_schema(builder, rules, *tool.parameters, tool.where);
    const Label behind = builder.call(arguments, builder.literal(text.after, builder.accept()));
    const Label middle = builder.literal(text.before_arguments, behind);
    one = builder.either(builder.literal(text.before_name, rules.text(tool.name, middle)), one);
  }
  const Label end = builder.literal(text.close, builder.accept());
  Label more = end;
  for (int i = 1; i < text.max_calls; ++i) {
    more = builder.either(builder.literal(text.separator, builder.call(one, more)), end);
  }
  const Label start = builder.literal(text.open, builder.call(one, more));
  return std::shared_ptr<const Grammar>(new Grammar(builder.finish(start), "tools"));
}

}  // namespace upg::constrain
