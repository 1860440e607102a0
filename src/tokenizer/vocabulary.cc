#include "tokenizer/vocabulary.h"

#include <bit>
#include <functional>

#include "base/check.h"

namespace upg::tokenizer {

Vocabulary::Vocabulary(size_t tokens) : slots_(std::bit_ceil(tokens * 2 + 16), -1) {}

Vocabulary::Added Vocabulary::add(std::string_view text, int32_t id) {
  UPG_CHECK(id >= 0 && id < kMaxTokens);
  if (has(id)) return Added::kIdTaken;
  if (used_ * 2 >= slots_.size()) grow();
  const size_t slot = slot_of(text);
  if (slots_[slot] >= 0) return Added::kTextTaken;
  UPG_CHECK(bytes_.size() + text.size() <= UINT32_MAX);
  if (id >= size()) entries_.resize(static_cast<size_t>(id) + 1);
  entries_[static_cast<size_t>(id)] = {static_cast<uint32_t>(bytes_.size()),
                                       static_cast<int32_t>(text.size())};
  bytes_ += text;
  slots_[slot] = id;
  ++used_;
  return Added::kNew;
}

bool Vocabulary::has(int32_t id) const noexcept {
  return id >= 0 && id < size() && entries_[static_cast<size_t>(id)].length >= 0;
}

std::string_view Vocabulary::text(int32_t id) const noexcept {
  if (!has(id)) return {};
  const Entry& entry = entries_[static_cast<size_t>(id)];
  return std::string_view(bytes_).substr(entry.begin, static_cast<size_t>(entry.length));
}

int32_t Vocabulary::find(std::string_view text) const noexcept { return slots_[slot_of(text)]; }

// The slot that holds `text`, or the empty one where it belongs.
size_t Vocabulary::slot_of(std::string_view text_wanted) const noexcept {
  const size_t mask = slots_.size() - 1;
  size_t slot = std::hash<std::string_view>{}(text_wanted)&mask;
  while (slots_[slot] >= 0 && text(slots_[slot]) != text_wanted) slot = (slot + 1) & mask;
  return slot;
}

void Vocabulary::grow() {
  std::vector<int32_t> old(slots_.size() * 2, -1);
  old.swap(slots_);
  for (const int32_t id : old) {
    if (id >= 0) slots_[slot_of(text(id))] = id;
  }
}

}  // namespace upg::tokenizer
