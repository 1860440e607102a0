#include "compress/encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <new>

#include "base/check.h"
#include "base/checked.h"
#include "codec/matrix.h"
#include "codec/rotation.h"
#include "compress/chunk_loop.h"
#include "compress/row_reader.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

constexpr int64_t kChunkElements = int64_t{1} << 19;  // 2 MiB as float: stays in a core's cache

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

ErrorSums measure(const SourceMatrix& source, const codec::Matrix& matrix, base::ThreadTeam& team,
                  uint64_t done, const Tick& tick) {
  const RowReader reader(source, nullptr);
  const int64_t elements = chunk_rows(source.cols) * source.cols;
  Buffers originals(team, elements);
  Buffers decoded(team, elements);
  ChunkLoop loop(source.rows, source.cols, chunk_rows(source.cols), done, tick);
  std::vector<ErrorSums> sums(static_cast<size_t>(loop.chunks()));
  loop.run(team, [&](int64_t chunk, int64_t first, int64_t count, int thread) {
    reader.read(first, count, originals.of(thread));
    codec::decode_rows(matrix, first, count, decoded.of(thread));
    sums[static_cast<size_t>(chunk)].add_elements(originals.of(thread), decoded.of(thread),
                                                  count * source.cols);
    reader.release(first, count);
  });
  ErrorSums total;
  for (const ErrorSums& sum : sums) total.add(sum);  // in order: the same for any team
  return total;
}

}  // namespace

EncodedMatrix::EncodedMatrix(std::vector<codec::Part> parts) {
  constexpr size_t kAlignment = 64;  // what kernels and bind() ask of codes
  for (codec::Part& part : parts) {
    const size_t size = part.bytes.size();
    if (base::size_of(part.spec.dtype) > 1) {
      plain_.push_back(std::move(part.bytes));
      parts_.push_back({std::move(part.spec), plain_.back()});
      continue;
    }
    const size_t room = base::round_up(std::max(size, kAlignment), kAlignment);
    aligned_.emplace_back(static_cast<std::byte*>(std::aligned_alloc(kAlignment, room)));
    if (aligned_.back() == nullptr) throw std::bad_alloc();
    if (size > 0) std::memcpy(aligned_.back().get(), part.bytes.data(), size);
    parts_.push_back({std::move(part.spec), {aligned_.back().get(), size}});
    std::vector<std::byte>().swap(part.bytes);
  }
}

codec::Matrix EncodedMatrix::bind(const SourceMatrix& source, const codec::Codec& codec,
                                  const uint8_t* signs) const {
  std::vector<base::TensorView> views;
  for (const EncodedPart& part : parts_) {
    views.push_back({part.spec.dtype, part.spec.shape, part.bytes});
  }
  codec::StoredMatrix stored;
  stored.name = source.where;
  stored.rows = source.rows;
  stored.cols = source.cols;
  stored.signs = signs;
  stored.part = [&](std::string_view suffix) -> const base::TensorView* {
    for (size_t i = 0; i < parts_.size(); ++i) {
      if (parts_[i].spec.suffix == suffix) return &views[i];
    }
    return nullptr;
  };
  return codec.bind(stored);
}

void ErrorSums::add(const ErrorSums& other) noexcept {
  error += other.error;
  weight += other.weight;
}

void ErrorSums::add_elements(const float* original, const float* decoded, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) {
    const double w = original[i];
    const double e = w - static_cast<double>(decoded[i]);
    weight += w * w;
    error += e * e;
  }
}

double ErrorSums::relative() const noexcept {
  if (error == 0) return 0;
  return weight > 0 ? std::sqrt(error / weight) : INFINITY;
}

int64_t chunk_rows(int64_t cols) noexcept {
  const int64_t rows = kChunkElements / cols / codec::kRowPadding * codec::kRowPadding;
  return std::max<int64_t>(rows, codec::kRowPadding);
}

void check_values(const float* values, int64_t count, int64_t first, int64_t cols,
                  const std::string& where) {
  bool good = true;
  for (int64_t i = 0; i < count; ++i) good &= std::fabs(values[i]) <= kMaxWeight;
  if (good) return;
  int64_t i = 0;
  while (std::fabs(values[i]) <= kMaxWeight) ++i;
  throw Error(
      ErrorCode::kInvalidData,
      fmt::format("{}: element [{}, {}] is {}, allowed are finite values up to {:g} (VALUE)", where,
                  (first + i) / cols, (first + i) % cols, values[i], kMaxWeight));
}

EncodedMatrix encode_matrix(const SourceMatrix& source, const Storage& storage,
                            const uint8_t* signs, base::ThreadTeam& team, const Tick& tick) {
  UPG_CHECK(storage.is_matrix() && storage.rotated == (signs != nullptr));
  const RowReader reader(source, signs);
  const double begin = now();
  const std::unique_ptr<codec::Encoder> encoder =
      storage.codec->encoder(source.rows, source.cols, reader.stored_cols(), storage.options);
  {
    const int64_t count = sample_rows(source.rows, source.cols);
    const std::vector<float> sample = read_sample(source, reader, count);
    encoder->train(sample.data(), count);
  }
  const double trained = now();
  Buffers buffers(team, chunk_rows(source.cols) * reader.stored_cols());
  ChunkLoop loop(source.rows, source.cols, chunk_rows(source.cols), 0, tick);
  loop.run(team, [&](int64_t, int64_t first, int64_t count, int thread) {
    float* rows = buffers.of(thread);
    reader.read(first, count, rows);
    encoder->encode(first, count, rows);
    reader.release(first, count);
  });
  EncodedMatrix encoded(encoder->finish());
  encoded.sums = measure(source, encoded.bind(source, *storage.codec, signs), team,
                         static_cast<uint64_t>(source.rows * source.cols), tick);
  encoded.train_seconds = trained - begin;
  encoded.rows_seconds = now() - trained;
  return encoded;
}

ErrorSums measure_error(const SourceMatrix& source, const codec::Matrix& matrix,
                        base::ThreadTeam& team, const Tick& tick) {
  return measure(source, matrix, team, 0, tick);
}

}  // namespace upg::compression
