// The implementations that path_searches_<table>.cc lists; the build file picks the table.
#pragma once

#include <cstdint>

#include "codec/path_viterbi.h"

namespace upg::codec::viterbi {

void encode_avx512(const PathPalettes& palettes, const float* targets, int64_t count,
                   int64_t stride, uint8_t* codes);
void encode_avx2(const PathPalettes& palettes, const float* targets, int64_t count, int64_t stride,
                 uint8_t* codes);
void encode_plain(const PathPalettes& palettes, const float* targets, int64_t count, int64_t stride,
                  uint8_t* codes);

}  // namespace upg::codec::viterbi
