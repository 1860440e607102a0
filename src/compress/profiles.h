// Which codec each tensor gets: the table of profiles and the user's overrides on top.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_view.h"
#include "codec/codec.h"
#include "model/tensors.h"
#include "upg/compress.h"

namespace upg::compression {

// One row of the table in profiles.cc. Codec names are those users write: a name of the codec
// table, or an element type ("bf16") for raw in that type.
struct Profile {
  std::string_view name;
  std::string_view layers;     // every matrix of a layer
  std::string_view embedding;  // also when it serves as the head
  std::string_view head;       // untied
  bool rotate_layers = false;
  bool rotate_head = false;
  std::string_view version = "3.0";  // of the file it writes
  bool overrides = true;             // whether --tensor may change it
  bool has_sparsity = false;         // whether --sparsity means anything
  bool keeps_zeros = false;          // whether sparse matrices stay so (compress/zeros.h)
  bool spends_bits = false;          // whether codecs are chosen by sensitivity (bit_choice.h)
};

std::span<const Profile> all_profiles();
const Profile& find_profile(std::string_view name);  // throws Error(kUsage) listing the names
std::string profile_names();                         // "10x, sparse, ..."
std::string codec_choices();                         // what an override may name
std::string codec_name_of(base::DType dtype);        // "bf16"

// How one tensor is stored.
struct Storage {
  const codec::Codec* codec = nullptr;  // nullptr: a vector, kept as F32
  bool rotated = false;
  codec::EncodeOptions options;

  bool is_matrix() const noexcept { return codec != nullptr; }
  std::vector<codec::PartSpec> parts(int64_t rows, int64_t cols) const {
    return codec->parts(rows, cols, options);
  }
};

// One entry a spec. `dtypes` are the source's. Throws Error(kUsage) for an unknown profile or
// codec, a pattern that matches no matrix, a sparsity out of range.
std::vector<Storage> choose_storage(const std::vector<model::TensorSpec>& specs,
                                    std::span<const base::DType> dtypes,
                                    const CompressOptions& options);

// Whether an override names it.
bool is_overridden(const model::TensorSpec& spec, const CompressOptions& options);
// Another codec, as an override would name it, rotated as the codec and the matrix's role allow.
// Throws Error(kUsage) for an unknown one.
void set_codec(Storage& storage, std::string_view codec, const model::TensorSpec& spec,
               base::DType source);

// The name of the activation whose rotation a matrix uses, and of the tensor with its signs.
std::string activation_of(const model::TensorSpec& spec);
std::string signs_name(const model::TensorSpec& spec);

// Bytes of all parts.
uint64_t bytes_of(std::span<const codec::PartSpec> parts);

// Bits a weight a matrix of `stored_bytes` would have with 5,120 columns: what its codec stores a
// row (scale), a matrix (palettes) and as padding is counted for [rows, 5120] in place of
// [rows, cols]. Rotation signs, one bit a column and activation, are left out.
double bits_at_5120(const Storage& storage, int64_t rows, int64_t cols, uint64_t stored_bytes);

}  // namespace upg::compression
