// The codec table: one row a codec.
#include <array>

#include "codec/bind_check.h"
#include "codec/codec.h"

namespace upg::codec {

std::span<const Codec> all_codecs() {
  static const std::array kCodecs = {kPath2Codec,  kPath3Codec, kPath4Codec, kInt8Codec,
                                     kSparseCodec, kMdcsrCodec, kRawCodec};
  return kCodecs;
}

const Codec* find_codec(std::string_view name) {
  for (const Codec& codec : all_codecs()) {
    if (codec.name == name) return &codec;
  }
  return nullptr;
}

std::string codec_names() {
  std::string names;
  for (const Codec& codec : all_codecs()) {
    if (!names.empty()) names += ", ";
    names += codec.name;
  }
  return names;
}

}  // namespace upg::codec
