#include "kernels/cuda/step_tables.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace upg::kernels::cuda {

int StepTables::rope_table(const Rope& rope, std::vector<const Rope*>& known) {
  const auto found = std::find(known.begin(), known.end(), &rope);
  if (found != known.end()) return static_cast<int>(found - known.begin());
  UPG_CHECK(static_cast<int>(rope.inv_freq.size()) == half_);
  known.push_back(&rope);
  inv_freq_.insert(inv_freq_.end(), rope.inv_freq.begin(), rope.inv_freq.end());
  inv_freq_.push_back(rope.scale);
  return static_cast<int>(known.size()) - 1;
}

void StepTables::add_run(const SequenceSlice& slice, int page_base) {
  const int end = slice.past + slice.tokens;
  if (slice.tokens >= kPromptTokens) {
    runs_.push_back({slice.first, slice.tokens, page_base, end});
  } else if (runs_.empty() || runs_.back().page_base >= 0) {
    runs_.push_back({slice.first, slice.tokens, -1, end});
  } else {
    runs_.back().tokens += slice.tokens;
    runs_.back().longest = std::max(runs_.back().longest, end);
  }
}

void StepTables::begin(const StepBatch& batch) {
  UPG_CHECK(static_cast<size_t>(batch.tokens) == batch.ids.size());
  UPG_CHECK(batch.ropes.size() == batch.sequences.size());
  ids_.assign(batch.ids.begin(), batch.ids.end());
  positions_.clear();
  page_base_.clear();
  tables_.clear();
  runs_.clear();
  pages_.clear();
  inv_freq_.clear();
  on_device_ = false;
  one_each_ = batch.sequences.size() == static_cast<size_t>(batch.tokens);
  longest_ = 0;
  half_ = batch.ropes.empty() ? 0 : static_cast<int>(batch.ropes[0]->inv_freq.size());
  std::vector<const Rope*> known;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceSlice& slice = batch.sequences[s];
    const int end = slice.past + slice.tokens;
    UPG_CHECK(slice.first == static_cast<int>(positions_.size()) && slice.tokens >= 0);
    UPG_CHECK(static_cast<int64_t>(slice.pages.size()) * kPageTokens >= end);
    one_each_ = one_each_ && slice.tokens == 1;
    const int table = rope_table(*batch.ropes[s], known);
    add_run(slice, static_cast<int>(pages_.size()));
    for (int position = slice.past; position < end; ++position) {
      positions_.push_back(position);
      page_base_.push_back(static_cast<int32_t>(pages_.size()));
      tables_.push_back(table);
    }
    const auto used = static_cast<size_t>((end + kPageTokens - 1) / kPageTokens);
    pages_.insert(pages_.end(), slice.pages.begin(),
                  slice.pages.begin() + static_cast<ptrdiff_t>(used));
    longest_ = std::max(longest_, end);
  }
  UPG_CHECK(positions_.size() == ids_.size());
}

const int32_t* StepTables::send(const int32_t* from, size_t count) {
  Slot& slot = slots_[next_++ % slots_.size()];
  slot.done.wait();
  const size_t bytes = count * sizeof(int32_t);
  if (slot.pinned.bytes() < bytes) {
    slot.pinned = PinnedArray(2 * bytes);
    slot.device = DeviceArray(2 * bytes);
  }
  std::memcpy(slot.pinned.data(), from, bytes);
  check(cudaMemcpyAsync(slot.device.as<int32_t>(), slot.pinned.data(), bytes,
                        cudaMemcpyHostToDevice, stream_),
        "upload of a step");
  slot.done.record(stream_);
  return slot.device.as<int32_t>();
}

const StepView& StepTables::device() {
  if (on_device_) return view_;
  on_device_ = true;
  std::vector<int32_t> all;
  const auto add = [&all](const auto& values) {
    const size_t at = all.size();
    all.resize(at + values.size());
    std::memcpy(all.data() + at, values.data(), values.size() * sizeof(int32_t));
    return at;
  };
  const size_t ids = add(ids_);
  const size_t positions = add(positions_);
  const size_t base = add(page_base_);
  const size_t tables = add(tables_);
  const size_t inv_freq = add(inv_freq_);
  const size_t pages = add(pages_);
  const int32_t* at = send(all.data(), all.size());
  const int64_t floats = int64_t{tokens()} * half_;
  float* rotary = rotary_.reserve<float>(2 * floats);
  view_ = {.tokens = tokens(),
           .rotary_dims = 2 * half_,
           .ids = at + ids,
           .positions = at + positions,
           .pages = at + pages,
           .page_base = at + base,
           .cos = rotary,
           .sin = rotary + floats};
  if (half_ > 0 && tokens() > 0) {
    rope_tables(reinterpret_cast<const float*>(at + inv_freq), at + tables, view_.positions,
                tokens(), half_, rotary, rotary + floats, stream_);
    check(cudaGetLastError(), "rotary tables");
  }
  return view_;
}

}  // namespace upg::kernels::cuda
