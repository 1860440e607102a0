#include "constrain/characters.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace upg::constrain {
namespace {

struct ShortEscape {
  char32_t character;
  char letter;
};
constexpr ShortEscape kShortEscapes[] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                         {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};

std::string escape_of(char32_t character) {
  for (const ShortEscape& known : kShortEscapes) {
    if (known.character == character) return {'\\', known.letter};
  }
  return fmt::format("\\u{:04x}", static_cast<uint32_t>(character));
}

bool needs_escape(char32_t character) {
  return character < 0x20 || character == '"' || character == '\\';
}

const CharacterSet& plain_characters() {
  static const CharacterSet set{{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, kLastCharacter}};
  return set;
}

// One run of code points whose UTF-8 forms have the same length, as byte ranges: cut until all but
// the leading bytes that both ends share cover whole ranges of continuation bytes.
class Utf8Writer {
 public:
  Utf8Writer(ProgramBuilder& builder, Label next) : builder_(builder), next_(next) {}

  void add(char32_t low, char32_t high) {
    static constexpr std::array<char32_t, 4> kLastOfLength{0x7f, 0x7ff, 0xffff, kLastCharacter};
    for (const char32_t last : kLastOfLength) {
      if (low > last || low > high) continue;
      add_same_length(low, std::min(high, last));
      low = last + 1;
    }
  }

  Label result() const { return result_; }

 private:
  void add_same_length(char32_t low, char32_t high) {
    for (int bits = 6; bits <= 18; bits += 6) {
      const char32_t mask = (char32_t{1} << bits) - 1;
      if ((low & ~mask) == (high & ~mask)) continue;
      if ((low & mask) != 0) {
        add_same_length(low, low | mask);
        return add_same_length((low | mask) + 1, high);
      }
      if ((high & mask) != mask) {
        add_same_length(low, (high & ~mask) - 1);
        return add_same_length(high & ~mask, high);
      }
    }
    add_sequence(low, high);
  }

  void add_sequence(char32_t low, char32_t high) {
    std::string from, to;
    base::append_utf8(from, low);
    base::append_utf8(to, high);
    Label at = next_;
    for (size_t i = from.size(); i-- > 0;) {
      at = builder_.byte(static_cast<uint8_t>(from[i]), static_cast<uint8_t>(to[i]), at);
    }
    result_ = builder_.either(at, result_);
  }

  ProgramBuilder& builder_;
  Label next_;
  Label result_ = builder_.fail();
};

}  // namespace

CharacterSet::CharacterSet(std::initializer_list<Range> ranges) {
  for (const auto& [low, high] : ranges) add(low, high);
}

void CharacterSet::add(char32_t low, char32_t high) {
  if (low > high) return;
  ranges_.emplace_back(low, high);
  std::sort(ranges_.begin(), ranges_.end());
  std::vector<Range> joined;
  for (const Range& range : ranges_) {
    if (!joined.empty() && range.first <= joined.back().second + 1) {
      joined.back().second = std::max(joined.back().second, range.second);
    } else {
      joined.push_back(range);
    }
  }
  ranges_ = std::move(joined);
}

void CharacterSet::add(const CharacterSet& other) {
  for (const auto& [low, high] : other.ranges_) add(low, high);
}

CharacterSet CharacterSet::complement() const {
  CharacterSet result;
  char32_t from = 0;
  for (const auto& [low, high] : ranges_) {
    if (low > from) result.ranges_.emplace_back(from, low - 1);
    from = high + 1;
  }
  if (from <= kLastCharacter) result.ranges_.emplace_back(from, kLastCharacter);
  return result;
}

CharacterSet CharacterSet::without(const CharacterSet& other) const {
  CharacterSet rest = complement();
  rest.add(other);
  return rest.complement();
}

bool CharacterSet::contains(char32_t character) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    return range.first <= character && character <= range.second;
  });
}

std::optional<char32_t> CharacterSet::single() const {
  const bool is_one = ranges_.size() == 1 && ranges_[0].first == ranges_[0].second;
  return is_one ? std::optional(ranges_[0].first) : std::nullopt;
}

Label utf8_character(ProgramBuilder& builder, const CharacterSet& set, Label next) {
  static const CharacterSet surrogates{{0xd800, 0xdfff}};
  Utf8Writer writer(builder, next);
  const CharacterSet characters = set.without(surrogates);
  for (const auto& [low, high] : characters.ranges()) writer.add(low, high);
  return writer.result();
}

Label StringCharacters::any() {
  if (any_ == 0) {
    const Label escape = builder_.byte('\\', escape_rule());
    const Label plain = utf8_character(builder_, plain_characters(), builder_.accept());
    any_ = builder_.either(plain, escape);
  }
  return any_;
}

// What follows the backslash.
Label StringCharacters::escape_rule() {
  ProgramBuilder& b = builder_;
  const auto hex = [&](Label next) {
    return b.either(b.byte('0', '9', next),
                    b.either(b.byte('a', 'f', next), b.byte('A', 'F', next)));
  };
  const auto letter_in = [&](char low, char high, Label next) {  // both cases
    return b.either(b.byte(static_cast<uint8_t>(low), static_cast<uint8_t>(high), next),
                    b.byte(static_cast<uint8_t>(low - 'a' + 'A'),
                           static_cast<uint8_t>(high - 'a' + 'A'), next));
  };
  const Label two = hex(hex(b.accept()));
  const Label low_half = b.literal("\\u", letter_in('d', 'd', letter_in('c', 'f', two)));
  const Label high_half =
      b.either(b.byte('8', '9', hex(hex(low_half))), letter_in('a', 'b', hex(hex(low_half))));
  const Label behind_d = b.either(b.byte('0', '7', two), high_half);
  const Label three = hex(two);
  const Label not_d = b.any_of(
      std::array{b.byte('0', '9', three), letter_in('a', 'c', three), letter_in('e', 'f', three)});
  const Label unicode = b.byte('u', b.either(not_d, letter_in('d', 'd', behind_d)));
  Label all = b.either(unicode, b.byte('/', b.accept()));
  for (const ShortEscape& known : kShortEscapes)
    all = b.either(b.byte(known.letter, b.accept()), all);
  return all;
}

Label StringCharacters::of(const CharacterSet& set) {
  const auto [slot, is_new] = rules_.try_emplace(set.ranges(), 0);
  if (!is_new) return slot->second;
  Label rule =
      utf8_character(builder_, set.without(plain_characters().complement()), builder_.accept());
  for (const auto& [low, high] : set.ranges()) {
    for (char32_t character = low; character <= std::min<char32_t>(high, '\\'); ++character) {
      if (needs_escape(character))
        rule = builder_.either(builder_.literal(escape_of(character), builder_.accept()), rule);
    }
  }
  return slot->second = rule;
}

std::string escaped_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (needs_escape(byte)) {
      out += escape_of(byte);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace upg::constrain
