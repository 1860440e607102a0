// The tokens of a model: their texts as tokenizer.json has them, and the ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace upg::tokenizer {

inline constexpr int32_t kMaxTokens = int32_t{1} << 21;

// Ids are 0 ... size() - 1, with gaps. Immutable after the last add().
class Vocabulary {
 public:
  // Room for `tokens` of them.
  explicit Vocabulary(size_t tokens);

  enum class Added { kNew, kIdTaken, kTextTaken };
  // id in [0, kMaxTokens). Adds nothing unless it returns kNew.
  Added add(std::string_view text, int32_t id);

  int32_t size() const noexcept { return static_cast<int32_t>(entries_.size()); }
  bool has(int32_t id) const noexcept;
  std::string_view text(int32_t id) const noexcept;    // empty for a gap
  int32_t find(std::string_view text) const noexcept;  // -1: none

 private:
  struct Entry {
    uint32_t begin = 0;
    int32_t length = -1;  // -1: a gap
  };
  struct Slot {
    uint32_t hash = 0;  // the upper half, so that most strangers are told apart without their text
    int32_t id = -1;    // -1: empty
  };
  size_t slot_of(std::string_view text, size_t hash) const noexcept;
  void grow();

  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // by hash of their text; a power of two
  size_t used_ = 0;
};

}  // namespace upg::tokenizer
