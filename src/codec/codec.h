// The table of codecs: the ways to store a matrix. A new one is its own file and a row in
// registry.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_view.h"
#include "codec/matrix.h"

namespace upg::codec {

// One of the tensors in which a codec stores a matrix: "codes" of "model.norm" is
// "model.norm.codes"; the empty suffix is the matrix's own name.
struct PartSpec {
  std::string suffix;
  base::DType dtype;
  std::vector<int64_t> shape;
};

struct Part {
  PartSpec spec;
  std::vector<std::byte> bytes;
};

struct EncodeOptions {
  double sparsity = 0.5;  // sparse, mdcsr: the share of each row that becomes zero, 0 <= s < 1
  // sparse, mdcsr: when set, sparsity means nothing; exactly the weights that are not zero are
  // stored, and take this many codes or entries (sparse: every row group's rounded up to two;
  // mdcsr: those that bridge gaps included).
  std::optional<int64_t> stored_weights;
  base::DType raw_dtype = base::DType::kBF16;  // raw: what it stores
};

// Encodes one matrix. train() first, then encode() for every row once, then finish().
class Encoder {
 public:
  virtual ~Encoder() = default;

  // Sees a sample of the rows ([count, stored_cols], already rotated where there is a rotation) and
  // fits what all rows share (palettes). Deterministic.
  virtual void train(const float* rows, int64_t count) = 0;

  // rows [first_row, first_row + count) of the matrix, [count, stored_cols]. first_row is a
  // multiple of kRowPadding, count too or up to the last row. Thread-safe for disjoint ranges; the
  // result does not depend on how the rows were divided. Values are finite (the caller checked).
  virtual void encode(int64_t first_row, int64_t count, const float* rows) = 0;

  virtual std::vector<Part> finish() = 0;  // in the order of Codec::parts
};

// What bind() looks at. Views must outlive the Matrix.
struct StoredMatrix {
  std::string_view name;  // for messages
  int64_t rows = 0;
  int64_t cols = 0;
  const uint8_t* signs = nullptr;  // [padded_cols / 8] or nullptr
  // The tensor with that suffix, or nullptr.
  std::function<const base::TensorView*(std::string_view suffix)> part;
};

struct Codec {
  std::string_view name;  // "path3"
  int version = 1;
  bool rotates = false;  // its input may be rotated
  // The tensors it stores, codes first. Exact sizes where they follow from the shape; for sparse
  // and mdcsr the number of non-zeros is what the options ask for.
  std::vector<PartSpec> (*parts)(int64_t rows, int64_t cols, const EncodeOptions& options);
  // stored_cols = columns the encoder sees: padded_cols(cols) when rotated, else cols.
  std::unique_ptr<Encoder> (*encoder)(int64_t rows, int64_t cols, int64_t stored_cols,
                                      const EncodeOptions& options);
  // Checks structure: shapes, sizes, index ranges, everything a kernel relies on. Throws
  // Error(kInvalidData) naming the tensor, what was found, what is allowed.
  Matrix (*bind)(const StoredMatrix& stored);
};

std::span<const Codec> all_codecs();
const Codec* find_codec(std::string_view name);  // nullptr when unknown
std::string codec_names();                       // "path2, path3, ..." for messages

// Rows [first, first + count) as float, [count, cols], any rotation undone. The plain reference of
// what every stored bit means. Thread-safe.
void decode_rows(const Matrix& matrix, int64_t first, int64_t count, float* out);

}  // namespace upg::codec
