#include "constrain/program.h"

#include <algorithm>
#include <bitset>
#include <utility>

namespace upg::constrain {
namespace {

template <typename Visit>
void for_each_successor(const Instruction& at, const Visit& visit) {
  if (at.op == Op::kAccept || at.op == Op::kFail) return;
  visit(at.next);
  if (at.op == Op::kSplit || at.op == Op::kCall) visit(at.other);
}

// Dijkstra's algorithm over a grammar (Knuth, "A generalization of Dijkstra's algorithm", 1977):
// instructions are settled in the order of what they need. A call is ready when both its callee and
// what follows it are settled.
class NeedSolver {
 public:
  explicit NeedSolver(std::vector<Instruction>& code) : code_(code), buckets_(kMaxDepth + 1) {
    list_predecessors();
  }

  void solve() {
    for (Label i = 0; i < code_.size(); ++i) {
      if (code_[i].op == Op::kAccept) buckets_[0].push_back(i);
    }
    for (size_t need = 0; need < buckets_.size(); ++need) {
      for (size_t i = 0; i < buckets_[need].size(); ++i) {  // grows while it is walked
        settle(buckets_[need][i], static_cast<uint8_t>(need));
      }
    }
  }

 private:
  void list_predecessors() {
    begins_.assign(code_.size() + 1, 0);
    for (const Instruction& at : code_)
      for_each_successor(at, [&](Label to) { ++begins_[to + 1]; });
    for (size_t i = 1; i < begins_.size(); ++i) begins_[i] += begins_[i - 1];
    predecessors_.resize(begins_.back());
    std::vector<uint32_t> filled(begins_.begin(), begins_.end() - 1);
    for (Label i = 0; i < code_.size(); ++i) {
      for_each_successor(code_[i], [&](Label to) { predecessors_[filled[to]++] = i; });
    }
  }

  void settle(Label at, uint8_t need) {
    if (code_[at].need != kNever) return;
    code_[at].need = need;
    for (uint32_t i = begins_[at]; i < begins_[at + 1]; ++i) {
      const Label from = predecessors_[i];
      const int through = need_through(from, need);
      if (through <= kMaxDepth) buckets_[static_cast<size_t>(through)].push_back(from);
    }
  }

  // What an instruction needs now that a successor of it needs `need`.
  int need_through(Label from, uint8_t need) const {
    const Instruction& at = code_[from];
    if (at.op != Op::kCall) return need;
    const uint8_t callee = code_[at.other].need;
    const uint8_t behind = code_[at.next].need;
    if (callee == kNever || behind == kNever) return kNever;
    const bool last = code_[at.next].op == Op::kAccept;  // takes no level, see machine.cc
    return last ? callee : std::max(callee + 1, static_cast<int>(behind));
  }

  std::vector<Instruction>& code_;
  std::vector<std::vector<Label>> buckets_;
  std::vector<uint32_t> begins_;  // [code + 1], into predecessors_
  std::vector<Label> predecessors_;
};

void classify_bytes(Program& program) {
  std::bitset<257> begins;
  for (const Instruction& at : program.code) {
    if (at.op != Op::kByte) continue;
    begins.set(at.low);
    begins.set(at.high + size_t{1});
  }
  int current = 0;
  for (size_t byte = 0; byte < 256; ++byte) {
    if (byte > 0 && begins.test(byte)) ++current;
    program.byte_class[byte] = static_cast<uint8_t>(current);
  }
  program.classes = current + 1;
}

}  // namespace

Program make_program(std::vector<Instruction> code, Label start) {
  Program program;
  program.code = std::move(code);
  program.start = start;
  NeedSolver(program.code).solve();
  classify_bytes(program);
  return program;
}

}  // namespace upg::constrain
