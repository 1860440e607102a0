// Writes instructions back to front: every part is told where its text goes on, and gives the label
// where it begins. fail() behaves as the empty language throughout.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "constrain/program.h"

namespace upg::constrain {

inline constexpr size_t kMaxInstructions = size_t{1} << 18;

class ProgramBuilder {
 public:
  // where: what the error of a grammar that grows too large names, see set_where().
  explicit ProgramBuilder(std::string_view where);

  // What is compiled now, for the error of a grammar that grows beyond kMaxInstructions: Error
  // (kUsage), thrown by every function below.
  void set_where(std::string_view where) { where_ = where; }

  Label accept() const { return 0; }
  Label fail() const { return 1; }
  Label byte(uint8_t low, uint8_t high, Label next);
  Label byte(char byte, Label next);
  Label literal(std::string_view bytes, Label next);
  Label either(Label first, Label second);
  Label any_of(std::span<const Label> ways);
  Label call(Label rule, Label next);
  // A label to be used before it is known where it leads, as recursion and loops need.
  Label placeholder();
  void lead(Label placeholder, Label target);
  // The rule from least to most times (-1: any number), nothing between.
  Label repeat(Label rule, int least, int most, Label next);

  // The builder is empty afterwards.
  Program finish(Label start);

 private:
  Label emit(const Instruction& instruction);

  std::vector<Instruction> code_;
  std::string where_;
};

}  // namespace upg::constrain
