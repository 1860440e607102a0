// The bytes of a vocabulary's tokens, in an order in which a grammar is quickly run over all of
// them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace upg::constrain {

// Immutable; made once a model, shared by all its matchers.
class TokenTable {
 public:
  // pieces: the bytes of every token by id, [vocabulary]. Empty for those that a constrained text
  // never holds: special tokens, ids without a token.
  explicit TokenTable(std::span<const std::string_view> pieces);

  int32_t size() const noexcept { return static_cast<int32_t>(ranks_.size()); }
  std::string_view piece(int32_t id) const noexcept;  // empty for an id outside

  // ---- in the order of the bytes, empty ones left out
  size_t sorted_size() const noexcept { return ids_.size(); }
  int32_t sorted_id(size_t rank) const { return ids_[rank]; }
  std::string_view sorted_piece(size_t rank) const {
    return std::string_view(bytes_).substr(begins_[rank], begins_[rank + 1] - begins_[rank]);
  }
  // How many bytes this token and the one before it begin with in common.
  size_t shared_prefix(size_t rank) const { return shared_[rank]; }

 private:
  std::string bytes_;             // sorted
  std::vector<uint32_t> begins_;  // [sorted + 1], into bytes_
  std::vector<uint32_t> shared_;  // [sorted]
  std::vector<int32_t> ids_;      // [sorted]
  std::vector<int32_t> ranks_;    // [vocabulary]; -1: empty
};

}  // namespace upg::constrain
