// The mdcsr encoder: scale = the row's largest magnitude; every kept weight becomes the nearest
// product of a value and a prime.
//
// |decoded - original| <= scale * 36 / 104729 (and the rounding of three float products): already
// with value 127 alone, as the widest gap between primes of the table is 72. The other values fill
// the gaps; over shares spread evenly in 0 ... 1 the root mean square error is 7e-6.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "base/check.h"
#include "codec/mdcsr.h"
#include "codec/primes.h"
#include "codec/prune.h"
#include "upg/error.h"

namespace upg::codec {
namespace {

constexpr int kMaxValue = 127;
constexpr int kMaxDelta = 255;
// Shares above this lie where primes are dense enough for the largest values alone to be near.
constexpr double kDenseShare = 1.0 / 64;
constexpr int kDenseValues = 96;  // the least of them

// The index of the prime nearest to every integer in 0 ... 104729.
const std::vector<uint16_t>& nearest_primes() {
  static const std::vector<uint16_t> kTable = [] {
    std::vector<uint16_t> table(kLargestPrime + 1);
    size_t index = 0;
    for (uint32_t n = 0; n <= kLargestPrime; ++n) {
      // Up while the next prime is nearer: 2 n > prime[i] + prime[i + 1].
      while (index + 1 < kPrimeCount && 2 * n > kPrimes[index] + kPrimes[index + 1]) ++index;
      table[n] = static_cast<uint16_t>(index);
    }
    return table;
  }();
  return kTable;
}

struct RowEntries {
  std::vector<int8_t> values;
  std::vector<uint8_t> deltas;
  std::vector<uint16_t> prime_indices;

  void add(int delta, MdcsrProduct product) {
    values.push_back(product.value);
    deltas.push_back(static_cast<uint8_t>(delta));
    prime_indices.push_back(product.prime_index);
  }
};

template <class T>
void append(std::vector<std::byte>& out, const std::vector<T>& items) {
  const auto bytes = std::as_bytes(std::span(items));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

class MdcsrEncoder final : public Encoder {
 public:
  MdcsrEncoder(int64_t rows, int64_t cols, int64_t keep)
      : cols_(cols),
        keep_(keep),
        rows_(static_cast<size_t>(rows)),
        scales_(static_cast<size_t>(rows)) {}

  void train(const float*, int64_t) override {}

  void encode(int64_t first_row, int64_t count, const float* rows) override {
    for (int64_t r = 0; r < count; ++r) encode_row(first_row + r, rows + r * cols_);
  }

  std::vector<Part> finish() override {
    std::vector<uint32_t> pointers(1);
    std::vector<Part> parts(5);
    uint64_t nonzeros = 0;
    for (RowEntries& row : rows_) {
      nonzeros += row.values.size();
      if (nonzeros > UINT32_MAX) {
        throw Error(ErrorCode::kUnsupported,
                    fmt::format("mdcsr: found more than {} entries in one matrix, allowed so many",
                                UINT32_MAX));
      }
      pointers.push_back(static_cast<uint32_t>(nonzeros));
      append(parts[0].bytes, row.values);
      append(parts[1].bytes, row.deltas);
      append(parts[3].bytes, row.prime_indices);
      row = {};  // so that a large matrix is not held twice
    }
    append(parts[2].bytes, pointers);
    append(parts[4].bytes, scales_);
    std::vector<PartSpec> specs =
        mdcsr_parts(static_cast<int64_t>(rows_.size()), static_cast<int64_t>(nonzeros));
    for (size_t i = 0; i < parts.size(); ++i) parts[i].spec = std::move(specs[i]);
    return parts;
  }

 private:
  void encode_row(int64_t row, const float* w) {
    float amax = 0;
    for (int64_t c = 0; c < cols_; ++c) amax = std::max(amax, std::fabs(w[c]));
    scales_[static_cast<size_t>(row)] = amax;
    if (amax == 0) return;
    RowEntries& entries = rows_[static_cast<size_t>(row)];
    int64_t at = 0;
    for (const int32_t column : largest_columns({w, static_cast<size_t>(cols_)}, keep_)) {
      const MdcsrProduct product = nearest_product(static_cast<double>(w[column]) / amax);
      if (product.value == 0) continue;  // an absent entry is a zero already
      for (; column - at > kMaxDelta; at += kMaxDelta) entries.add(kMaxDelta, {});
      entries.add(static_cast<int>(column - at), product);
      at = column;
    }
  }

  int64_t cols_, keep_;
  std::vector<RowEntries> rows_;
  std::vector<float> scales_;
};

}  // namespace

MdcsrProduct nearest_product(double share) {
  const double magnitude = std::fabs(share);
  const std::vector<uint16_t>& nearest = nearest_primes();
  const int least = std::max(magnitude < kDenseShare ? 1 : kDenseValues,
                             static_cast<int>(std::ceil(magnitude * kMaxValue)));
  const double wanted = magnitude * kMaxValue * kLargestPrime;  // of value * prime
  MdcsrProduct best;
  double best_error = wanted;  // of value 0
  for (int value = kMaxValue; value >= least; --value) {
    const auto target = std::min<int64_t>(std::llround(wanted / value), kLargestPrime);
    const uint16_t index = nearest[static_cast<size_t>(target)];
    const double error = std::fabs(static_cast<double>(kPrimes[index]) * value - wanted);
    if (error < best_error) {
      best_error = error;
      best = {static_cast<int8_t>(share < 0 ? -value : value), index};
    }
  }
  return best;
}

std::unique_ptr<Encoder> make_mdcsr_encoder(int64_t rows, int64_t cols, int64_t stored_cols,
                                            double sparsity) {
  UPG_CHECK(stored_cols == cols);
  return std::make_unique<MdcsrEncoder>(rows, cols, kept_columns(cols, sparsity));
}

}  // namespace upg::codec
