#include "constrain/token_table.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace upg::constrain {

TokenTable::TokenTable(std::span<const std::string_view> pieces) : ranks_(pieces.size(), -1) {
  size_t bytes = 0;
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].empty()) continue;
    ids_.push_back(static_cast<int32_t>(id));
    bytes += pieces[id].size();
  }
  UPG_CHECK(bytes < std::numeric_limits<uint32_t>::max());
  const auto piece_of = [&](int32_t id) { return pieces[static_cast<size_t>(id)]; };
  std::sort(ids_.begin(), ids_.end(), [&](int32_t a, int32_t b) {
    const int order = piece_of(a).compare(piece_of(b));
    return order != 0 ? order < 0 : a < b;
  });
  bytes_.reserve(bytes);
  begins_.push_back(0);
  std::string_view before;
  for (size_t rank = 0; rank < ids_.size(); ++rank) {
    const std::string_view piece = piece_of(ids_[rank]);
    const auto apart = std::mismatch(before.begin(), before.end(), piece.begin(), piece.end());
    shared_.push_back(static_cast<uint32_t>(apart.first - before.begin()));
    bytes_ += piece;
    begins_.push_back(static_cast<uint32_t>(bytes_.size()));
    ranks_[static_cast<size_t>(ids_[rank])] = static_cast<int32_t>(rank);
    before = piece;
  }
}

std::string_view TokenTable::piece(int32_t id) const noexcept {
  if (id < 0 || id >= size()) return {};
  const int32_t rank = ranks_[static_cast<size_t>(id)];
  return rank < 0 ? std::string_view{} : sorted_piece(static_cast<size_t>(rank));
}

}  // namespace upg::constrain
