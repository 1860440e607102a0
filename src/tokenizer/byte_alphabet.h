// The byte-level alphabet of GPT-2: each byte as one printable character, so that vocabularies are
// JSON strings. Bytes 33-126, 161-172 and 174-255 stand for themselves, the other 68 for U+0100 on.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace upg::tokenizer {

char32_t byte_character(uint8_t byte) noexcept;
std::string to_byte_alphabet(std::string_view bytes);
// The bytes that `text` (valid UTF-8) stands for; nullopt when a character is not in the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace upg::tokenizer
