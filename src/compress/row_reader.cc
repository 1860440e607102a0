#include "compress/row_reader.h"

#include <algorithm>

#include "codec/matrix.h"
#include "codec/rotation.h"

namespace upg::compression {
namespace {

constexpr int64_t kSampleElements = int64_t{1} << 20;  // enough to fit a few dozen numbers

}  // namespace

RowReader::RowReader(const SourceMatrix& source, const uint8_t* signs, int64_t stored_cols)
    : source_(source),
      signs_(signs),
      stored_cols_(signs == nullptr ? std::max(source.cols, stored_cols)
                                    : codec::padded_cols(source.cols)) {}

void RowReader::read(int64_t first, int64_t count, float* out) const {
  for (int64_t r = 0; r < count; ++r) {
    float* row = out + r * stored_cols_;
    base::to_float(*source_.view, (first + r) * source_.cols, source_.cols, row);
    check_values(row, source_.cols, (first + r) * source_.cols, source_.cols, source_.where);
    std::fill(row + source_.cols, row + stored_cols_, 0.0f);
  }
  if (signs_ != nullptr) codec::rotate(out, count, stored_cols_, signs_);
}

void RowReader::release(int64_t first, int64_t count) const {
  if (!source_.release) return;
  const auto row_bytes = static_cast<size_t>(source_.cols) * base::size_of(source_.view->dtype);
  source_.release(source_.view->bytes.subspan(static_cast<size_t>(first) * row_bytes,
                                              static_cast<size_t>(count) * row_bytes));
}

int64_t sample_rows(int64_t rows, int64_t cols) noexcept {
  return std::min(rows, std::max<int64_t>(kSampleElements / cols, codec::kRowPadding));
}

std::vector<float> read_sample(const SourceMatrix& source, const RowReader& reader, int64_t count) {
  std::vector<float> sample(static_cast<size_t>(count * reader.stored_cols()));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = source.rows * (2 * i + 1) / (2 * count);
    reader.read(row, 1, sample.data() + i * reader.stored_cols());
  }
  return sample;
}

}  // namespace upg::compression
