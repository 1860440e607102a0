#include "constrain/builder.h"

#include <fmt/format.h>

#include <utility>

#include "base/check.h"
#include "upg/error.h"

namespace upg::constrain {

ProgramBuilder::ProgramBuilder(std::string_view where) : where_(where) {
  code_.push_back({.op = Op::kAccept});
  code_.push_back({.op = Op::kFail});
}

Label ProgramBuilder::emit(const Instruction& instruction) {
  if (code_.size() >= kMaxInstructions) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: the grammar becomes too large, allowed are {} "
                                               "states (counts such as `maxLength` make many)",
                                               where_, kMaxInstructions));
  }
  code_.push_back(instruction);
  return static_cast<Label>(code_.size() - 1);
}

Label ProgramBuilder::byte(uint8_t low, uint8_t high, Label next) {
  if (next == fail()) return fail();
  return emit({.op = Op::kByte, .low = low, .high = high, .next = next});
}

Label ProgramBuilder::byte(char byte, Label next) {
  const auto value = static_cast<uint8_t>(byte);
  return this->byte(value, value, next);
}

Label ProgramBuilder::literal(std::string_view bytes, Label next) {
  for (size_t i = bytes.size(); i-- > 0;) next = byte(bytes[i], next);
  return next;
}

Label ProgramBuilder::either(Label first, Label second) {
  if (first == fail() || first == second) return second;
  if (second == fail()) return first;
  return emit({.op = Op::kSplit, .next = first, .other = second});
}

Label ProgramBuilder::any_of(std::span<const Label> ways) {
  Label all = fail();
  for (size_t i = ways.size(); i-- > 0;) all = either(ways[i], all);
  return all;
}

Label ProgramBuilder::call(Label rule, Label next) {
  if (rule == fail() || next == fail()) return fail();
  return emit({.op = Op::kCall, .next = next, .other = rule});
}

Label ProgramBuilder::placeholder() { return emit({.op = Op::kFail}); }

void ProgramBuilder::lead(Label placeholder, Label target) {
  UPG_CHECK(code_[placeholder].op == Op::kFail && placeholder != fail());
  if (target != fail() && target != placeholder) {
    code_[placeholder] = {.op = Op::kJump, .next = target};
  }
}

Label ProgramBuilder::repeat(Label rule, int least, int most, Label next) {
  Label at = next;
  if (most < 0) {
    const Label loop = placeholder();
    at = either(call(rule, loop), next);
    lead(loop, at);
  }
  for (int i = least; i < most; ++i) at = either(call(rule, at), next);
  for (int i = 0; i < least; ++i) at = call(rule, at);
  return at;
}

Program ProgramBuilder::finish(Label start) {
  return make_program(std::exchange(code_, {}), start);
}

}  // namespace upg::constrain
