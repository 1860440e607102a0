// y = W x for codecs whose blocks have a fixed size: from one input, streamed at memory speed, to a
// whole prompt.
#pragma once

#include "kernels/cpu/codes_product.h"
#include "kernels/cpu/float_panel.h"
#include "kernels/cpu/panel.h"

namespace upg::kernels::UPG_ISA {
namespace {

template <class Source, class Input>
void decode_panel(const Source& source, const CodesProduct<Input>& p, int64_t row, int64_t block,
                  int64_t blocks, Panel& panel) {
  const uint8_t* codes = p.codes + row / codec::kGroupRows * p.group_bytes;
  for (int s = 0; s < kPanelStrands; ++s) {
    const uint8_t* at = codes + s / kStrandsPerGroup * p.group_bytes +
                        s % kStrandsPerGroup * kStrandBytes + block * Source::kBlockBytes;
    for (int64_t b = 0; b < blocks; ++b) source.load(at + b * Source::kBlockBytes, panel.w[s][b]);
  }
}

template <class Source, class Input>
void multiply_panels(const Source& source, const CodesProduct<Input>& p) {
  Panel panel;
  const int64_t rows = p.rows.end - p.rows.begin;
  for (int64_t row = 0; row < rows; row += kPanelRows) {
    const PanelRows part = {p.rows.begin + row, p.rows.end, p.scale, p.unit};
    for (int64_t block = 0; block < p.blocks; block += kPanelBlocks) {
      const int64_t left = p.blocks - block;
      const int64_t blocks = left < kPanelBlocks ? left : kPanelBlocks;
      decode_panel(source, p, row, block, blocks, panel);
      multiply_panel<typename Source::Levels>(panel, block, blocks, p.x, part, p.out);
    }
  }
}

// multiply_few() is the instruction set's: few_strands.h or few_turned.h.
template <class Source>
void multiply_codes(const Source& source, const CodesProduct<QuantisedInput>& p) {
  p.x.rows <= kTileTokens ? multiply_few(source, p) : multiply_panels(source, p);
}

template <class Source>
void multiply_codes(const Source& source, const CodesProduct<FloatInput>& p) {
  multiply_panels(source, p);
}

}  // namespace
}  // namespace upg::kernels::UPG_ISA
