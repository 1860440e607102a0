#include "kernels/cuda/chooser.h"

#include <algorithm>
#include <type_traits>

namespace upg::kernels::cuda {

template <class T>
const T* Chooser::send(const std::vector<T>& values) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % sizeof(int32_t) == 0);
  if (values.empty()) return nullptr;
  const auto* words = reinterpret_cast<const int32_t*>(values.data());
  return reinterpret_cast<const T*>(
      tables_.send(words, values.size() * sizeof(T) / sizeof(int32_t)));
}

ChoiceStages Chooser::plan(int64_t vocabulary, std::span<const TokenChoice> choices) {
  ChoiceStages stages;
  rows_.clear();
  changes_.clear();
  for (const TokenChoice& choice : choices) {
    ChoiceRow row = {};
    row.temperature = choice.temperature;
    row.top_p = choice.top_p;
    row.min_p = choice.min_p;
    row.top_k = choice.top_k < vocabulary ? choice.top_k : 0;
    row.draw = choice.draw;
    row.first_change = static_cast<int32_t>(changes_.size());
    row.changes = static_cast<int32_t>(choice.changes.size());
    changes_.insert(changes_.end(), choice.changes.begin(), choice.changes.end());
    rows_.push_back(row);
    stages.most_changes = std::max(stages.most_changes, row.changes);
    if (row.temperature == 0) continue;
    stages.top_k |= row.top_k > 0;
    stages.top_p |= row.top_p < 1;
  }
  return stages;
}

const int32_t* Chooser::choose(float* logits, int64_t vocabulary,
                               std::span<const TokenChoice> choices) {
  const ChoiceStages stages = plan(vocabulary, choices);
  const auto count = static_cast<int64_t>(choices.size());
  ChoiceArguments a = {};
  a.logits = logits;
  a.vocabulary = vocabulary;
  a.rows = static_cast<int>(count);
  a.bits = weight_bits(vocabulary);
  a.plan = send(rows_);
  a.changes = send(changes_);
  a.states = states_.reserve<ChoiceState>(count);
  a.before = before_.reserve<float>(static_cast<int64_t>(changes_.size()));
  a.ids = ids_.reserve<int32_t>(count);
  const size_t bytes = choices.size() * sizeof(ChoiceState);
  check(cudaMemsetAsync(a.states, 0, bytes, stream_), "choosing tokens");
  launches_ = choose_ids(a, stages, stream_);
  return a.ids;
}

}  // namespace upg::kernels::cuda
