// What every codec's bind() checks the same way.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/tensor_view.h"
#include "codec/codec.h"

namespace upg::codec {

// The codec table's rows, one a file; registry.cc lists them.
extern const Codec kPath2Codec, kPath3Codec, kPath4Codec, kInt8Codec, kSparseCodec, kMdcsrCodec,
    kRawCodec;

// Throws Error(kInvalidData): "NAME.SUFFIX: found FOUND, allowed ALLOWED".
[[noreturn]] void reject(const StoredMatrix& stored, std::string_view suffix,
                         std::string_view found, std::string_view allowed);

// Rows and columns in 1 ... 2^31 - 1, so that no size computed from them can wrap.
void check_dimensions(const StoredMatrix& stored);
// For codecs whose input is never rotated.
void check_unrotated(const StoredMatrix& stored);

// The tensor with that suffix, which must exist with exactly that type and shape, as many bytes as
// they say, at an address that is a multiple of `alignment`.
const base::TensorView& require_part(const StoredMatrix& stored, const PartSpec& spec,
                                     size_t alignment);
// The same of a length that is not known beforehand: it must have one dimension.
const base::TensorView& require_vector(const StoredMatrix& stored, std::string_view suffix,
                                       base::DType dtype, size_t alignment);

// The row scales [rows], each finite.
const float* require_scales(const StoredMatrix& stored, std::string_view suffix);

// Two palettes of `states` entries each, A then B, to levels. Every entry must have bit 14 zero and
// an index below 10,000, and no sum of one of A and one of B may leave -63 ... 63.
void read_palettes(const StoredMatrix& stored, std::string_view suffix, const uint16_t* entries,
                   int states, int8_t* level_a, int8_t* level_b);

// Codes in which four rows' 16-byte vectors lie side by side: the rows that pad the matrix to a
// multiple of 32 must be zero. vectors: 16-byte vectors a row.
void check_padding_rows(const StoredMatrix& stored, std::string_view suffix, const std::byte* codes,
                        int64_t vectors);

// All bytes zero: padding.
bool all_zero(std::span<const std::byte> bytes) noexcept;

}  // namespace upg::codec
