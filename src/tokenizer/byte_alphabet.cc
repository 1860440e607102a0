#include "tokenizer/byte_alphabet.h"

#include "base/text.h"
#include "tokenizer/unicode.h"

namespace upg::tokenizer {
namespace {

constexpr char32_t kFirstShifted = 0x100;
constexpr char32_t kCharacters = kFirstShifted + 68;

constexpr bool stands_for_itself(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

struct Tables {
  std::array<char32_t, 256> character{};
  std::array<int16_t, kCharacters> byte{};
};

constexpr Tables kTables = [] {
  Tables tables;
  tables.byte.fill(-1);
  char32_t shifted = kFirstShifted;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t character = stands_for_itself(byte) ? static_cast<char32_t>(byte) : shifted++;
    tables.character[static_cast<size_t>(byte)] = character;
    tables.byte[character] = static_cast<int16_t>(byte);
  }
  return tables;
}();

}  // namespace

char32_t byte_character(uint8_t byte) noexcept { return kTables.character[byte]; }

std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) base::append_utf8(out, byte_character(static_cast<uint8_t>(byte)));
  return out;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Char c = char_at(text, at);
    if (c.code >= kCharacters || kTables.byte[c.code] < 0) return std::nullopt;
    out.push_back(static_cast<char>(kTables.byte[c.code]));
    at += c.length;
  }
  return out;
}

}  // namespace upg::tokenizer
