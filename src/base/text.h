// Small text needs of messages and parsers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace upg::base {

// For a name that comes from a file and goes into a message: control characters and invalid UTF-8
// escaped as \xNN, cut to 200 bytes, so that it can neither forge log lines nor steer a terminal.
std::string printable(std::string_view name);

// The byte offset of the first byte that is not valid UTF-8 (overlong forms, surrogates and values
// above U+10FFFF included), or text.size().
size_t valid_utf8_prefix(std::string_view text) noexcept;

// Appends the UTF-8 form of a code point (<= U+10FFFF).
void append_utf8(std::string& out, char32_t code_point);

// Whether `text` matches `pattern`, in which '*' stands for any run of characters, '?' for one.
// Linear in the product of the lengths. Used for tensor names on the command line.
bool matches_glob(std::string_view pattern, std::string_view text) noexcept;

std::string format_bytes(
    uint64_t bytes);  // "5.86 GB" (powers of ten, as file sizes are advertised)
std::string format_duration(double seconds);  // "1 h 02 min", "3 min 05 s", "12.3 s"

}  // namespace upg::base
