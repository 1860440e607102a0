// A stored matrix that owns its bytes: for what is encoded in memory and used at once (tests,
// benchmarks, re-coding).
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "codec/codec.h"

namespace upg::codec {

class OwnedMatrix {
 public:
  // Copies the parts to 64-byte aligned memory and binds them. Throws as Codec::bind does.
  OwnedMatrix(const Codec& codec, int64_t rows, int64_t cols, const std::vector<Part>& parts,
              std::vector<uint8_t> signs = {});
  OwnedMatrix(OwnedMatrix&&) noexcept;
  OwnedMatrix& operator=(OwnedMatrix&&) noexcept;
  ~OwnedMatrix();

  const Matrix& view() const noexcept;

 private:
  struct Storage;
  std::unique_ptr<Storage> storage_;
};

// Encodes weights [rows, cols] in one go, on this thread. With signs (padded_cols / 8 bytes) they
// are rotated first.
OwnedMatrix encode_matrix(const Codec& codec, int64_t rows, int64_t cols, const float* weights,
                          std::vector<uint8_t> signs = {}, const EncodeOptions& options = {});

}  // namespace upg::codec
