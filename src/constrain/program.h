// The automaton that a grammar is compiled to: instructions over bytes, with calls.
//
// As in Thompson's and Pike's regular-expression machines an instruction reads one byte or chooses;
// a call and its return make it a recursive transition network, which is what nested JSON needs. A
// text belongs to the language when some path reads all of it and returns from the first rule.
//
// No path goes deeper than kMaxDepth calls. Every instruction knows how many more calls the
// shallowest way from it to the end of its rule takes, so that a path which could not be finished
// any more is never entered: wherever a text may be continued, it may also be brought to an end.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace upg::constrain {

using Label = uint32_t;  // index of an instruction

enum class Op : uint8_t {
  kByte,    // reads one byte from low to high, goes on at next
  kSplit,   // goes on at next and at other
  kJump,    // goes on at next
  kCall,    // goes on at other; where that accepts, at next
  kAccept,  // the end of a rule: returns
  kFail,    // no way from here
};

inline constexpr int kMaxDepth = 64;
inline constexpr uint8_t kNever = 255;  // as need: no way to the end within kMaxDepth

struct Instruction {
  Op op = Op::kFail;
  uint8_t low = 0;
  uint8_t high = 0;
  uint8_t need = kNever;  // calls within calls on the shallowest way to the end of the rule
  Label next = 0;
  Label other = 0;
};

struct Program {
  std::vector<Instruction> code;
  Label start = 0;
  // Bytes that no instruction tells apart share a class.
  std::array<uint8_t, 256> byte_class{};
  int classes = 0;
};

// Computes what the instructions need and the byte classes.
Program make_program(std::vector<Instruction> code, Label start);

}  // namespace upg::constrain
