#include "format/file_kind.h"

#include <algorithm>
#include <array>

namespace upg::format {
namespace {

struct Magic {
  std::string_view start;
  std::string_view kind;
};

using namespace std::string_view_literals;

constexpr std::array<Magic, 9> kMagics = {{
    {"version https://git-lfs"sv, "a Git LFS pointer; fetch the file itself (git lfs pull)"sv},
    {"\x1f\x8b"sv, "a gzip file; unpack it first"sv},
    {"GGUF"sv, "a GGUF file; a safetensors checkpoint is needed"sv},
    {"PK\x03\x04"sv, "a zip file (PyTorch checkpoint?); convert it to safetensors"sv},
    {"\x80\x02"sv, "a Python pickle; convert it to safetensors"sv},
    {"\x80\x04"sv, "a Python pickle; convert it to safetensors"sv},
    {"\x28\xb5\x2f\xfd"sv, "a zstd file; unpack it first"sv},
    {"\x89HDF"sv, "an HDF5 file; convert it to safetensors"sv},
    {"{"sv, "a JSON text"sv},
}};

bool looks_like_html(std::string_view text) noexcept {
  const size_t start = text.find_first_not_of(" \t\r\n\xef\xbb\xbf");
  if (start == std::string_view::npos) return false;
  const auto begins = [&](std::string_view word) {
    return text.size() - start >= word.size() &&
           std::equal(word.begin(), word.end(), text.begin() + static_cast<std::ptrdiff_t>(start),
                      [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + 32 : b); });
  };
  return begins("<!doctype") || begins("<html") || begins("<?xml");
}

}  // namespace

std::string_view known_kind(std::span<const std::byte> bytes) noexcept {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              std::min<size_t>(bytes.size(), 512));
  for (const Magic& magic : kMagics) {
    if (text.starts_with(magic.start)) return magic.kind;
  }
  return looks_like_html(text) ? "an HTML page; the download failed"sv : ""sv;
}

}  // namespace upg::format
