#include "kernels/placement.h"

#include <span>
#include <variant>

#include "base/memory.h"

namespace upg::kernels {
namespace {

using Bytes = std::span<const std::byte>;

template <class T>
Bytes array(const T* data, int64_t count) {
  return std::as_bytes(std::span(data, static_cast<size_t>(count)));
}

// The array that makes up most of the matrix and whose order is that of the rows.
Bytes rows_of(const codec::Matrix& m, const codec::RawMatrix& w) {
  return array(w.data, m.rows * m.cols * static_cast<int64_t>(base::size_of(w.dtype)));
}
Bytes rows_of(const codec::Matrix& m, const codec::PathMatrix& w) {
  return array(w.codes, codec::padded_rows(m.rows) * codec::padded_cols(m.cols) * w.bits / 8);
}
Bytes rows_of(const codec::Matrix& m, const codec::Int8Matrix& w) {
  return array(w.codes, codec::padded_rows(m.rows) * codec::padded_cols(m.cols));
}
Bytes rows_of(const codec::Matrix& m, const codec::SparseMatrix& w) {
  return array(w.codes, w.offsets[codec::padded_rows(m.rows) / codec::kGroupRows]);
}
Bytes rows_of(const codec::Matrix& m, const codec::MdcsrMatrix& w) {
  return array(w.prime_indices, w.row_pointers[m.rows]);
}

}  // namespace

void place(const codec::Matrix& matrix, const base::Topology& topology, int threads) noexcept {
  if (topology.nodes.size() < 2) return;
  const Bytes all =
      std::visit([&](const auto& view) { return rows_of(matrix, view); }, matrix.view);
  for (int thread = 0; thread < threads; ++thread) {
    const size_t begin = all.size() * static_cast<size_t>(thread) / static_cast<size_t>(threads);
    const size_t end = all.size() * static_cast<size_t>(thread + 1) / static_cast<size_t>(threads);
    base::move_to_node(all.subspan(begin, end - begin),
                       topology.nodes[topology.node_of(thread, threads)].id);
  }
}

}  // namespace upg::kernels
