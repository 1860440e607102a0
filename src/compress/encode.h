// One matrix through its codec: rows in chunks over all threads, then back again to measure what
// was lost.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/tensor_view.h"
#include "base/threads.h"
#include "codec/codec.h"
#include "compress/chunk_loop.h"
#include "compress/profiles.h"

namespace upg::compression {

// Largest magnitude a weight may have: its square, summed over a row, must fit a float.
inline constexpr float kMaxWeight = 1e12f;

// A matrix [rows, cols] of a checkpoint, mapped.
struct SourceMatrix {
  std::string where;  // for messages: file and tensor
  const base::TensorView* view = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  // Tells the system that these rows will not be read again soon; may be empty.
  std::function<void(std::span<const std::byte>)> release;
};

// Sums over all elements, in double.
struct ErrorSums {
  double error = 0;   // (w - w')^2
  double weight = 0;  // w^2

  void add(const ErrorSums& other) noexcept;
  void add_elements(const float* original, const float* decoded, int64_t count) noexcept;
  double relative() const noexcept;  // |w - w'| / |w|; of an all-zero matrix 0 where w' is too
};

struct EncodedPart {
  codec::PartSpec spec;
  std::span<const std::byte> bytes;  // aligned to 64 where the elements are bytes
};

// The parts of a matrix and the memory they lie in. Movable.
class EncodedMatrix {
 public:
  // Takes the bytes of what an encoder made.
  explicit EncodedMatrix(std::vector<codec::Part> parts);

  const std::vector<EncodedPart>& parts() const noexcept { return parts_; }
  // What the codec's bind() makes of them; views this object's memory.
  codec::Matrix bind(const SourceMatrix& source, const codec::Codec& codec,
                     const uint8_t* signs) const;

  ErrorSums sums;
  // Of calibrated ones, through the second moments H of the inputs, summed over rows:
  double loss = 0;           // (t - q) H (t - q)^T
  double power = 0;          // t H t^T
  double train_seconds = 0;  // what it took: once a matrix
  double rows_seconds = 0;   // encoding and measuring, which grow with the matrix

 private:
  struct FreeAligned {
    void operator()(std::byte* bytes) const noexcept { std::free(bytes); }
  };
  std::vector<EncodedPart> parts_;
  std::vector<std::vector<std::byte>> plain_;
  std::vector<std::unique_ptr<std::byte[], FreeAligned>> aligned_;
};

// signs: [padded_cols / 8] when storage.rotated. Throws Error(kInvalidData) naming the first
// element that is not finite or above kMaxWeight. tick counts to 2 * rows * cols: encoding, then
// measuring. The result is the same for any number of threads.
EncodedMatrix encode_matrix(const SourceMatrix& source, const Storage& storage,
                            const uint8_t* signs, base::ThreadTeam& team, const Tick& tick);

// What `matrix` lost against its source. The same for any number of threads.
ErrorSums measure_error(const SourceMatrix& source, const codec::Matrix& matrix,
                        base::ThreadTeam& team, const Tick& tick);

// Throws as encode_matrix does. `first`: index of values[0] in the tensor, `cols` its row length.
void check_values(const float* values, int64_t count, int64_t first, int64_t cols,
                  const std::string& where);

// Rows of one chunk for matrices of that many columns: a multiple of codec::kRowPadding.
int64_t chunk_rows(int64_t cols) noexcept;

}  // namespace upg::compression
