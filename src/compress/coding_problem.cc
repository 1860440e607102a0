#include "compress/coding_problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "codec/matrix.h"
#include "codec/path_layout.h"
#include "compress/linear_algebra.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using codec::kBlockColumns;
using codec::kChainLength;

using Small = std::array<double, 256>;  // [16, 16]

// Columns of `matrix` [rows, n] in a new order, in place.
void reorder_columns(std::vector<float>& matrix, const std::vector<int32_t>& order) {
  const size_t n = order.size();
  std::vector<float> row(n);
  for (size_t first = 0; first < matrix.size(); first += n) {
    for (size_t j = 0; j < n; ++j) row[j] = matrix[first + static_cast<size_t>(order[j])];
    std::copy(row.begin(), row.end(), matrix.begin() + static_cast<std::ptrdiff_t>(first));
  }
}

// Rows of `matrix` [n, n] in a new order, in place: along the cycles of the permutation.
void reorder_rows(std::vector<float>& matrix, const std::vector<int32_t>& order) {
  const size_t n = order.size();
  const auto row = [&](size_t i) { return matrix.begin() + static_cast<std::ptrdiff_t>(i * n); };
  std::vector<bool> placed(n);
  std::vector<float> first(n);
  for (size_t start = 0; start < n; ++start) {
    if (placed[start]) continue;
    std::copy_n(row(start), n, first.begin());
    size_t to = start;
    for (auto from = static_cast<size_t>(order[to]); from != start;
         from = static_cast<size_t>(order[to])) {
      std::copy_n(row(from), n, row(to));
      placed[to] = true;
      to = from;
    }
    std::copy_n(first.begin(), n, row(to));
    placed[to] = true;
  }
}

// Both.
std::vector<float> reordered(std::vector<float> matrix, const std::vector<int32_t>& order) {
  reorder_columns(matrix, order);
  reorder_rows(matrix, order);
  return matrix;
}

constexpr size_t at(int row, int col) {
  return static_cast<size_t>(row) * 16 + static_cast<size_t>(col);
}

// The inverse of a unit upper triangular matrix.
Small invert_unit_upper(const Small& v) {
  Small x = {};
  for (int j = 0; j < 16; ++j) {
    x[at(j, j)] = 1;
    for (int i = j - 1; i >= 0; --i) {
      double sum = 0;
      for (int k = i + 1; k <= j; ++k) sum += v[at(i, k)] * x[at(k, j)];
      x[at(i, j)] = -sum;
    }
  }
  return x;
}

// k = v diag(d) v^T, v unit upper; k is damped and so positive definite.
void factorise_small(const Small& k, Small& v, std::array<double, 16>& d) {
  v = {};
  for (int j = 15; j >= 0; --j) {
    double pivot = k[at(j, j)];
    for (int m = j + 1; m < 16; ++m) {
      pivot -= v[at(j, m)] * v[at(j, m)] * d[static_cast<size_t>(m)];
    }
    pivot = std::max(pivot, 1e-30);
    d[static_cast<size_t>(j)] = pivot;
    v[at(j, j)] = 1;
    for (int i = 0; i < j; ++i) {
      double sum = k[at(i, j)];
      for (int m = j + 1; m < 16; ++m) {
        sum -= v[at(i, m)] * v[at(j, m)] * d[static_cast<size_t>(m)];
      }
      v[at(i, j)] = sum / pivot;
    }
  }
}

// The metric of v diag(d) v^T, and v^-1. Only ratios of weights matter: scaled to a mean of 1, so
// that squares stay far from the ends of float.
codec::ChainMetric metric_of(const Small& inverse, const std::array<double, 16>& d) {
  codec::ChainMetric metric;
  const double mean = std::accumulate(d.begin(), d.end(), 0.0) / 16;
  for (size_t p = 0; p < 16; ++p) {
    metric.weight[p] = static_cast<float>(d[p] / mean);
    for (size_t q = p + 1; q < 16; ++q)
      metric.carry[p][q] = static_cast<float>(inverse[16 * p + q]);
  }
  return metric;
}

std::array<float, 256> narrowed(const Small& matrix) {
  std::array<float, 256> out;
  for (size_t i = 0; i < 256; ++i) out[i] = static_cast<float>(matrix[i]);
  return out;
}

// (v diag(d) v^T)^-1 = v^-T diag(1/d) v^-1.
Small invert(const Small& inverse_v, const std::array<double, 16>& d) {
  Small out = {};
  for (size_t i = 0; i < 16; ++i) {
    for (size_t j = 0; j < 16; ++j) {
      double sum = 0;
      for (size_t m = 0; m <= std::min(i, j); ++m) {
        sum += inverse_v[16 * m + i] * inverse_v[16 * m + j] / d[m];
      }
      out[16 * i + j] = sum;
    }
  }
  return out;
}

}  // namespace

void fail_moments(std::string_view tensor, float found) {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("{}: the calibration text makes its inputs overflow; found {} in their "
                          "second moments, allowed are finite values (VALUE)",
                          tensor, found));
}

void fail_factor(std::string_view tensor) {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("{}: the second moments of its inputs cannot be factorised, found no "
                          "damping up to {} that helps (VALUE)",
                          tensor, kMaxDamping));
}

std::vector<int32_t> coding_order(const std::vector<float>& diagonal) {
  const size_t blocks = diagonal.size() / kBlockColumns;
  std::vector<double> energy(blocks);
  for (size_t c = 0; c < diagonal.size(); ++c) energy[c / kBlockColumns] += diagonal[c];
  std::vector<size_t> by_energy(blocks);
  std::iota(by_energy.begin(), by_energy.end(), 0);
  std::stable_sort(by_energy.begin(), by_energy.end(),
                   [&](size_t a, size_t b) { return energy[a] > energy[b]; });
  std::vector<int32_t> order;
  for (const size_t block : by_energy) {
    const auto first = static_cast<int32_t>(block) * static_cast<int32_t>(kBlockColumns);
    for (int chain = 0; chain < codec::kChainsPerBlock; ++chain) {
      for (int p = 0; p < kChainLength; ++p) order.push_back(first + codec::column_of(chain, p));
    }
  }
  return order;
}

ChainProblem make_chain(const float* factor, const float* gram, const float* pivots,
                        double damping) {
  Small v;
  Small k;
  std::array<double, 16> d;
  std::copy_n(factor, 256, v.begin());
  std::copy_n(gram, 256, k.begin());
  std::copy_n(pivots, 16, d.begin());
  for (int i = 0; i < 16; ++i) k[at(i, i)] += damping;
  ChainProblem out;
  const Small inverse_v = invert_unit_upper(v);
  out.feedback = metric_of(inverse_v, d);
  out.carry_in = narrowed(inverse_v);
  factorise_small(k, v, d);
  const Small inverse_alone = invert_unit_upper(v);
  out.alone = metric_of(inverse_alone, d);
  out.inverse = narrowed(invert(inverse_alone, d));
  return out;
}

CodingProblem::CodingProblem(Moments moments, double damping, std::string_view tensor)
    : cols_(moments.cols) {
  UPG_CHECK(cols_ % kBlockColumns == 0);
  UPG_CHECK(moments.gram.size() == static_cast<size_t>(cols_ * cols_));
  for (const std::vector<float>* matrix : {&moments.gram, &moments.drift, &moments.residual}) {
    for (const float value : *matrix) {
      if (!std::isfinite(value)) fail_moments(tensor, value);
    }
  }
  std::vector<float> diagonal;
  for (int64_t c = 0; c < cols_; ++c) {
    diagonal.push_back(moments.gram[static_cast<size_t>(c * (cols_ + 1))]);
  }
  order_ = coding_order(diagonal);
  gram_ = reordered(std::move(moments.gram), order_);
  if (!moments.drift.empty()) drift_ = reordered(std::move(moments.drift), order_);
  residual_ = std::move(moments.residual);
  reorder_columns(residual_, order_);
  build_factor(damping, tensor);
  build_chains();
}

void CodingProblem::build_factor(double damping, std::string_view tensor) {
  double mean = 0;
  for (int64_t c = 0; c < cols_; ++c) mean += gram_[static_cast<size_t>(c * (cols_ + 1))];
  mean /= static_cast<double>(cols_);
  if (!(mean > 0)) mean = 1;  // inputs that are always zero: every error is as good as another
  for (damping_ = damping; damping_ <= kMaxDamping; damping_ *= 10) {
    factor_ = gram_;
    for (int64_t c = 0; c < cols_; ++c) {
      factor_[static_cast<size_t>(c * (cols_ + 1))] += static_cast<float>(damping_ * mean);
    }
    pivots_ = factorise(cols_, factor_.data());
    if (!pivots_.empty()) break;
  }
  if (pivots_.empty()) fail_factor(tensor);
  damping_ *= mean;
}

void CodingProblem::build_chains() {
  const auto n = static_cast<size_t>(cols_);
  std::array<float, 256> factor;
  std::array<float, 256> gram;
  for (size_t first = 0; first < n; first += 16) {
    for (size_t i = 0; i < 16; ++i) {
      std::copy_n(factor_.data() + (first + i) * n + first, 16, factor.data() + 16 * i);
      std::copy_n(gram_.data() + (first + i) * n + first, 16, gram.data() + 16 * i);
    }
    chains_.push_back(make_chain(factor.data(), gram.data(), pivots_.data() + first, damping_));
  }
}

void CodingProblem::undo_drift(float share, int64_t first, int64_t count, float* targets,
                               float* scratch) const {
  if (drift_.empty() || share == 0) return;
  if (!residual_.empty()) std::copy_n(residual_.begin() + first * cols_, count * cols_, scratch);
  multiply(count, cols_, cols_, targets, cols_, drift_.data(), cols_, residual_.empty() ? 0 : 1,
           scratch, cols_);
  solve_unit_upper(count, cols_, factor_.data(), scratch, Transposed::kYes);
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t c = 0; c < cols_; ++c) scratch[r * cols_ + c] /= pivots_[static_cast<size_t>(c)];
  }
  solve_unit_upper(count, cols_, factor_.data(), scratch, Transposed::kNo);
  for (int64_t i = 0; i < count * cols_; ++i) targets[i] += share * scratch[i];
}

}  // namespace upg::compression
