#include "compress/zeros.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "codec/matrix.h"
#include "compress/chunk_loop.h"
#include "compress/encode.h"

namespace upg::compression {
namespace {

constexpr double kRoom = 1.04;
// Rows that decide whether a matrix is counted at all, and the share of zeros they must show: half
// of what the easiest case asks for.
constexpr int64_t kSampleRows = 64;
constexpr double kSampleShare = 0.1;
constexpr int64_t kMaxDelta = 255;

// Those that keep zeros, the first of equals preferred.
constexpr std::array<std::string_view, 3> kKeepers = {"sparse", "mdcsr", "int8"};

int64_t stored_by(std::string_view codec, const NonzeroCount& count) {
  return codec == "mdcsr" ? count.mdcsr_entries : count.sparse_codes;
}

// Of up to 4 rows [count, cols] that share a group.
NonzeroCount count_group(const float* rows, int64_t count, int64_t cols) {
  NonzeroCount found;
  for (int64_t r = 0; r < count; ++r) {
    int64_t at = 0;
    for (int64_t c = 0; c < cols; ++c) {
      if (rows[r * cols + c] == 0) continue;
      ++found.weights;
      found.mdcsr_entries += 1 + (c - at - 1) / kMaxDelta;
      at = c;
    }
  }
  found.sparse_codes = (found.weights + 1) / 2 * 2;
  return found;
}

void add(NonzeroCount& sum, const NonzeroCount& one) {
  sum.weights += one.weights;
  sum.sparse_codes += one.sparse_codes;
  sum.mdcsr_entries += one.mdcsr_entries;
}

double zeros_of_sample(const base::TensorView& view, int64_t rows, int64_t cols) {
  const int64_t count = std::min(rows, kSampleRows);
  std::vector<float> row(static_cast<size_t>(cols));
  int64_t zeros = 0;
  for (int64_t i = 0; i < count; ++i) {
    base::to_float(view, rows * (2 * i + 1) / (2 * count) * cols, cols, row.data());
    zeros += std::count(row.begin(), row.end(), 0.0f);
  }
  return static_cast<double>(zeros) / static_cast<double>(count * cols);
}

}  // namespace

NonzeroCount count_nonzeros(const base::TensorView& view, int64_t rows, int64_t cols,
                            base::ThreadTeam& team,
                            const std::function<void(std::span<const std::byte>)>& release) {
  const int64_t step = chunk_rows(cols);
  Buffers buffers(team, step * cols);
  const Tick nobody;
  ChunkLoop loop(rows, cols, step, 0, nobody);
  std::vector<NonzeroCount> counts(static_cast<size_t>(loop.chunks()));
  loop.run(team, [&](int64_t chunk, int64_t first, int64_t count, int thread) {
    float* values = buffers.of(thread);
    base::to_float(view, first * cols, count * cols, values);
    NonzeroCount sum;
    for (int64_t r = 0; r < count; r += codec::kGroupRows) {
      add(sum,
          count_group(values + r * cols, std::min<int64_t>(codec::kGroupRows, count - r), cols));
    }
    counts[static_cast<size_t>(chunk)] = sum;
    const auto row_bytes = static_cast<size_t>(cols) * base::size_of(view.dtype);
    if (release) {
      release(view.bytes.subspan(static_cast<size_t>(first) * row_bytes,
                                 static_cast<size_t>(count) * row_bytes));
    }
  });
  NonzeroCount total;
  for (const NonzeroCount& one : counts) add(total, one);
  return total;
}

std::optional<Storage> storage_with_zeros(const Storage& planned, const NonzeroCount& count,
                                          int64_t rows, int64_t cols) {
  std::optional<Storage> best;
  uint64_t best_bytes = 0;
  for (const std::string_view name : kKeepers) {
    Storage storage = planned;
    storage.codec = codec::find_codec(name);
    storage.rotated = false;
    storage.options.stored_weights = stored_by(name, count);
    const uint64_t bytes = bytes_of(storage.parts(rows, cols));
    if (best && bytes >= best_bytes) continue;
    best = storage;
    best_bytes = bytes;
  }
  const auto room = static_cast<double>(bytes_of(planned.parts(rows, cols))) * kRoom;
  if (static_cast<double>(best_bytes) > room) return std::nullopt;
  return best;
}

void keep_zeros(Plan& plan, const CompressOptions& options) {
  if (!plan.profile.keeps_zeros) return;
  base::ThreadTeam team(plan.threads);
  bool any = false;
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const model::TensorSpec& spec = plan.source.specs[i];
    if (!plan.storage[i].is_matrix() || is_overridden(spec, options)) continue;
    const format::TensorEntry& entry = *plan.source.entries[i];
    if (zeros_of_sample(entry.view, spec.rows, spec.cols) < kSampleShare) continue;
    const NonzeroCount count = count_nonzeros(entry.view, spec.rows, spec.cols, team,
                                              [&](std::span<const std::byte> range) {
                                                format::TensorEntry part;
                                                part.name = entry.name;
                                                part.view.bytes = range;
                                                plan.source.checkpoint.release(part);
                                              });
    if (const auto kept = storage_with_zeros(plan.storage[i], count, spec.rows, spec.cols)) {
      plan.storage[i] = *kept;
      any = true;
    }
  }
  if (any) summarise(plan, options);
}

}  // namespace upg::compression
