#include "tokenizer/vocabulary.h"

#include <bit>
#include <functional>

#include "base/check.h"

namespace upg::tokenizer {

namespace {

size_t hash_of(std::string_view text) { return std::hash<std::string_view>{}(text); }

uint32_t upper(size_t hash) { return static_cast<uint32_t>(uint64_t{hash} >> 32); }

}  // namespace

Vocabulary::Vocabulary(size_t tokens) : slots_(std::bit_ceil(tokens * 2 + 16)) {}

Vocabulary::Added Vocabulary::add(std::string_view text, int32_t id) {
  UPG_CHECK(id >= 0 && id < kMaxTokens);
  if (has(id)) return Added::kIdTaken;
  if (used_ * 2 >= slots_.size()) grow();
  const size_t hash = hash_of(text);
  Slot& slot = slots_[slot_of(text, hash)];
  if (slot.id >= 0) return Added::kTextTaken;
  UPG_CHECK(bytes_.size() + text.size() <= UINT32_MAX);
  if (id >= size()) entries_.resize(static_cast<size_t>(id) + 1);
  entries_[static_cast<size_t>(id)] = {static_cast<uint32_t>(bytes_.size()),
                                       static_cast<int32_t>(text.size())};
  bytes_ += text;
  slot = {upper(hash), id};
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

int32_t Vocabulary::find(std::string_view text) const noexcept {
  return slots_[slot_of(text, hash_of(text))].id;
}

// The slot that holds `wanted`, or the empty one where it belongs.
size_t Vocabulary::slot_of(std::string_view wanted, size_t hash) const noexcept {
  const size_t mask = slots_.size() - 1;
  size_t place = hash & mask;
  while (slots_[place].id >= 0 &&
         (slots_[place].hash != upper(hash) || text(slots_[place].id) != wanted)) {
    place = (place + 1) & mask;
  }
  return place;
}

void Vocabulary::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    const size_t hash = hash_of(text(slot.id));
    slots_[slot_of(text(slot.id), hash)] = slot;
  }
}

}  // namespace upg::tokenizer
