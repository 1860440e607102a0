#include "codec/path_assembly.h"

#include <span>

#include "base/check.h"
#include "codec/path.h"
#include "codec/path_layout.h"
#include "codec/primes.h"

namespace upg::codec {
namespace {

template <int kBits>
void pack_row(const uint8_t* codes, int64_t blocks, uint8_t* vectors) noexcept {
  for (int64_t block = 0; block < blocks; ++block) {
    pack_block<kBits>(codes + block * kBlockColumns, vectors + block * kBits * kVectorStride);
  }
}

}  // namespace

PathAssembly::PathAssembly(int64_t rows, int64_t cols, const PathPalettes& palettes)
    : rows_(rows), cols_(cols), palettes_(palettes), scale_(static_cast<size_t>(rows)) {
  UPG_CHECK(2 <= palettes.bits && palettes.bits <= 4);
  const int64_t vectors = padded_rows(rows) * blocks_of(cols) * palettes.bits;
  codes_.resize(static_cast<size_t>(vectors) * kVectorBytes);
}

void PathAssembly::set_row(int64_t row, const uint8_t* codes, float scale) noexcept {
  UPG_DCHECK(0 <= row && row < rows_);
  const int64_t blocks = blocks_of(cols_);
  auto* vectors =
      reinterpret_cast<uint8_t*>(codes_.data()) + row_offset(row, blocks, palettes_.bits);
  scale_[static_cast<size_t>(row)] = scale;
  if (palettes_.bits == 2) pack_row<2>(codes, blocks, vectors);
  if (palettes_.bits == 3) pack_row<3>(codes, blocks, vectors);
  if (palettes_.bits == 4) pack_row<4>(codes, blocks, vectors);
}

std::vector<Part> PathAssembly::finish() {
  std::vector<uint16_t> palette;
  const size_t states = size_t{1} << palettes_.bits;
  for (size_t i = 0; i < states; ++i) palette.push_back(entry_of(palettes_.a[i]));
  for (size_t i = 0; i < states; ++i) palette.push_back(entry_of(palettes_.b[i]));
  const auto entries = std::as_bytes(std::span(palette));
  const auto scales = std::as_bytes(std::span(scale_));
  std::vector<PartSpec> specs = path_parts(palettes_.bits, rows_, cols_);
  std::vector<Part> parts(3);
  parts[0].bytes = std::move(codes_);
  parts[1].bytes.assign(entries.begin(), entries.end());
  parts[2].bytes.assign(scales.begin(), scales.end());
  for (size_t i = 0; i < parts.size(); ++i) parts[i].spec = std::move(specs[i]);
  return parts;
}

}  // namespace upg::codec
