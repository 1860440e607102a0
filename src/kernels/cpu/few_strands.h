// Products with 1 to kTileTokens inputs, one way for all. few_turned.h offers the same names.
#pragma once

#include "kernels/cpu/places.h"

namespace upg::kernels::UPG_ISA {
namespace {

constexpr int kOneTileFrom = 0;  // few inputs never come as a tile

template <class Source>
void multiply_few(const Source& source, const CodesProduct<QuantisedInput>& p) {
  p.x.rows == 1 ? stream_places<1>(source, p) : stream_places<0>(source, p);
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
