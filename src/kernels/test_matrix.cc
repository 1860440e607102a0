#include "kernels/test_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/float16.h"
#include "codec/codec.h"
#include "codec/primes.h"
#include "kernels/cpu/tables.h"
#include "kernels/reference/ops.h"

namespace upg::kernels {
namespace {

int between(Random& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<uint32_t>(high - low + 1));
}

// Zero the bits of a row's mask past its last column: no weight is stored there.
void clear_tail(uint8_t* mask, int64_t cols, int64_t padded) {
  for (int64_t c = cols; c < padded; ++c) mask[c / 8] &= static_cast<uint8_t>(~(1 << c % 8));
}

int64_t count_bits(const uint8_t* bytes, int64_t count) {
  int64_t bits = 0;
  for (int64_t i = 0; i < count; ++i) bits += __builtin_popcount(bytes[i]);
  return bits;
}

}  // namespace

std::vector<float> random_floats(Random& random, int64_t count, float scale) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = scale * (static_cast<float>(random() >> 8) * 0x1p-23f - 1.0f);
  }
  return values;
}

std::span<const std::string_view> test_codecs() {
  static constexpr std::array<std::string_view, 12> kNames = {
      "path2", "path3",  "path4", "path2-one", "path3-one", "path4-one",
      "int8",  "sparse", "mdcsr", "raw-f32",   "raw-f16",   "raw-bf16"};
  return kNames;
}

TestMatrix::TestMatrix(std::string_view codec, int64_t rows, int64_t cols, bool rotated,
                       Random& random) {
  matrix_.rows = rows;
  matrix_.cols = cols;
  if (rotated) {
    signs_.resize(static_cast<size_t>(codec::padded_cols(cols) / 8));
    std::generate(signs_.begin(), signs_.end(), [&] { return static_cast<uint8_t>(random()); });
    matrix_.signs = signs_.data();
  }
  if (codec.starts_with("path")) make_path(codec[4] - '0', !codec.ends_with("-one"), random);
  if (codec == "int8") make_int8(random);
  if (codec == "sparse") make_sparse(random);
  if (codec == "mdcsr") make_mdcsr(random);
  if (codec == "raw-f32") make_raw(base::DType::kF32, random);
  if (codec == "raw-f16") make_raw(base::DType::kF16, random);
  if (codec == "raw-bf16") make_raw(base::DType::kBF16, random);
}

int64_t TestMatrix::stored_cols() const noexcept {
  const bool pads = !std::holds_alternative<codec::RawMatrix>(matrix_.view) &&
                    !std::holds_alternative<codec::MdcsrMatrix>(matrix_.view);
  return pads ? codec::padded_cols(matrix_.cols) : matrix_.cols;
}

std::vector<float> TestMatrix::stored_rows() const {
  codec::Matrix stored = matrix_;
  stored.signs = nullptr;
  stored.cols = stored_cols();
  std::vector<float> rows(static_cast<size_t>(stored.rows * stored.cols));
  codec::decode_rows(stored, 0, stored.rows, rows.data());
  return rows;
}

template <class T>
T* TestMatrix::bytes(int64_t count, Random& random) {
  const int64_t size = count * static_cast<int64_t>(sizeof(T));
  // Something even for nothing: views into a file are never null.
  std::byte* data = storage_.emplace_back().reserve(std::max<int64_t>(size, 1));
  std::generate_n(data, size, [&] { return static_cast<std::byte>(random()); });
  return reinterpret_cast<T*>(data);
}

const float* TestMatrix::scales(Random& random) {
  auto* scale = bytes<float>(matrix_.rows, random);
  for (int64_t r = 0; r < matrix_.rows; ++r) scale[r] = 0.5f + random_floats(random, 1)[0] / 4;
  return scale;
}

void TestMatrix::make_path(int bits, bool two_palettes, Random& random) {
  codec::PathMatrix path;
  path.bits = bits;
  path.two_palettes = two_palettes;
  path.codes = bytes<uint8_t>(
      codec::padded_rows(matrix_.rows) * codec::blocks_of(matrix_.cols) * 16 * bits, random);
  path.scale = scales(random);
  // The extremes of both must add up to at most 63: how they share it differs.
  const int largest_b = two_palettes ? between(random, 1, 40) : 0;
  for (size_t i = 0; i < size_t{1} << bits; ++i) {
    path.level_a[i] = static_cast<int8_t>(between(random, largest_b - 63, 63 - largest_b));
    path.level_b[i] = static_cast<int8_t>(between(random, -largest_b, largest_b));
  }
  matrix_.view = path;
}

void TestMatrix::make_int8(Random& random) {
  const int64_t count = codec::padded_rows(matrix_.rows) * codec::padded_cols(matrix_.cols);
  auto* codes = bytes<int8_t>(count, random);
  std::replace(codes, codes + count, int8_t{-128}, int8_t{127});
  matrix_.view = codec::Int8Matrix{codes, scales(random)};
}

void TestMatrix::make_sparse(Random& random) {
  const int64_t rows = codec::padded_rows(matrix_.rows);
  const int64_t padded = codec::padded_cols(matrix_.cols);
  auto* masks = bytes<uint8_t>(rows * padded / 8, random);
  auto* offsets = bytes<uint32_t>(rows / codec::kGroupRows + 1, random);
  offsets[0] = 0;
  for (int64_t row = 0; row < rows; ++row) {
    clear_tail(masks + row * padded / 8, row < matrix_.rows ? matrix_.cols : 0, padded);
  }
  const int64_t group_bytes = codec::kGroupRows * padded / 8;
  for (int64_t group = 0; group < rows / codec::kGroupRows; ++group) {
    const int64_t codes = count_bits(masks + group * group_bytes, group_bytes);
    offsets[group + 1] = offsets[group] + static_cast<uint32_t>((codes + 1) / 2);
  }
  codec::SparseMatrix sparse;
  sparse.masks = masks;
  sparse.offsets = offsets;
  sparse.scale = scales(random);
  // The format pads this tensor to a multiple of 64.
  const int64_t size = (int64_t{offsets[rows / codec::kGroupRows]} + 63) / 64 * 64;
  sparse.codes = bytes<uint8_t>(size, random);
  for (size_t i = 1; i < 16; ++i) sparse.level[i] = static_cast<int8_t>(between(random, -63, 63));
  matrix_.view = sparse;
}

void TestMatrix::make_mdcsr(Random& random) {
  std::vector<uint8_t> deltas;
  codec::MdcsrMatrix mdcsr;
  auto* pointers = bytes<uint32_t>(matrix_.rows + 1, random);
  pointers[0] = 0;
  for (int64_t row = 0; row < matrix_.rows; ++row) {
    const int widest = row % 3 == 0 ? 255 : 3;  // near and far gaps
    for (int64_t c = between(random, 0, widest), delta = c; c < matrix_.cols; c += delta) {
      deltas.push_back(static_cast<uint8_t>(delta));
      delta = between(random, 1, widest);
    }
    pointers[row + 1] = static_cast<uint32_t>(deltas.size());
  }
  const auto nonzeros = static_cast<int64_t>(deltas.size());
  auto* stored = bytes<uint8_t>(nonzeros, random);
  std::copy(deltas.begin(), deltas.end(), stored);
  auto* indices = bytes<uint16_t>(nonzeros, random);
  for (int64_t k = 0; k < nonzeros; ++k) indices[k] %= codec::kPrimeCount;
  mdcsr.values = bytes<int8_t>(nonzeros, random);
  mdcsr.deltas = stored;
  mdcsr.row_pointers = pointers;
  mdcsr.prime_indices = indices;
  mdcsr.scale = scales(random);
  matrix_.view = mdcsr;
}

void TestMatrix::make_raw(base::DType dtype, Random& random) {
  const std::vector<float> values = random_floats(random, matrix_.rows * matrix_.cols);
  const auto count = static_cast<int64_t>(values.size());
  auto* data = bytes<std::byte>(count * static_cast<int64_t>(base::size_of(dtype)), random);
  if (dtype == base::DType::kF32) std::memcpy(data, values.data(), 4 * values.size());
  for (size_t i = 0; dtype != base::DType::kF32 && i < values.size(); ++i) {
    const uint16_t bits =
        dtype == base::DType::kF16 ? base::float_to_f16(values[i]) : base::float_to_bf16(values[i]);
    std::memcpy(data + 2 * i, &bits, 2);
  }
  matrix_.view = codec::RawMatrix{dtype, data};
}

std::vector<const CpuOps*> runnable_tables() {
  std::vector<const CpuOps*> tables;
  for (const CpuOps* ops : cpu_tables()) {
    if (ops->supported()) tables.push_back(ops);
  }
  tables.push_back(&reference::table);
  return tables;
}

std::vector<const BackendRow*> runnable_backends() {
  std::vector<const BackendRow*> rows;
  for (const BackendRow& row : all_backends()) {
    if (row.supported()) {
      rows.push_back(&row);
    } else if (row.name == row.device) {  // not an instruction set
      fmt::print("skipped: {} tests, this machine lacks {}\n", row.name, row.needs);
    }
  }
  return rows;
}

std::unique_ptr<Backend> make_backend(const BackendRow& row, int threads, Activations activations) {
  BackendOptions options;
  options.cpu = row.name;
  options.threads = threads;
  options.activations = activations;
  return create_backend(options);
}

Buffer upload(Backend& backend, std::span<const float> values) {
  Buffer buffer = backend.allocate(values.size_bytes());
  backend.upload(buffer.bytes(), values.data(), buffer.size());
  return buffer;
}

std::vector<float> download(Backend& backend, const float* from, size_t count) {
  std::vector<float> values(count);
  backend.download(values.data(), from, count * sizeof(float));
  return values;
}

}  // namespace upg::kernels
