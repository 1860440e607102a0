#include "compress/cuda/device_problem.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "compress/moments.h"
#include "upg/error.h"

namespace upg::compression::cuda {

using kernels::cuda::check;
using kernels::cuda::Flipped;

namespace {

size_t floats(int64_t count) { return sizeof(float) * static_cast<size_t>(count); }

// x [n, n] in the order of its columns, in an array of its own.
DeviceArray reordered(const DeviceArray& x, int64_t rows, int64_t cols, bool rows_too,
                      const DeviceArray& order, cudaStream_t stream) {
  DeviceArray out(floats(rows * cols));
  const int32_t* by = order.as<int32_t>();
  gather(x.as<float>(), rows, cols, rows_too ? by : nullptr, by, out.as<float>(), stream);
  return out;
}

}  // namespace

DeviceProblem::DeviceProblem(Gpu& gpu, DeviceMoments moments, double damping,
                             std::string_view tensor)
    : gpu_(gpu),
      cols_(moments.cols),
      residual_rows_(moments.residual_rows),
      asked_damping_(damping),
      tensor_(tensor) {
  check_finite(moments, tensor);
  take_order(moments);
  build_factor(tensor);
  build_chains();
}

void DeviceProblem::check_finite(const DeviceMoments& moments, std::string_view tensor) const {
  DeviceArray found(sizeof(float));
  check(cudaMemsetAsync(found.as<void>(), 0, sizeof(float), gpu_.stream), "moments");
  for (const DeviceArray* matrix : {&moments.gram, &moments.drift, &moments.residual}) {
    const auto count = static_cast<int64_t>(matrix->bytes() / sizeof(float));
    find_not_finite(matrix->as<float>(), count, found.as<float>(), gpu_.stream);
  }
  float value = 0;
  gpu_.download(&value, found.as<float>(), sizeof(float));
  if (!std::isfinite(value)) fail_moments(tensor, value);
}

void DeviceProblem::take_order(DeviceMoments& moments) {
  DeviceArray there(floats(cols_));
  std::vector<float> energy(static_cast<size_t>(cols_));
  diagonal(moments.gram.as<float>(), cols_, there.as<float>(), gpu_.stream);
  gpu_.download(energy.data(), there.as<float>(), floats(cols_));
  order_ = coding_order(energy);
  order_there_ = DeviceArray(sizeof(int32_t) * order_.size());
  gpu_.upload(order_there_.as<void>(), order_.data(), order_there_.bytes());
  const auto square = [&](DeviceArray& matrix) {
    DeviceArray out = reordered(matrix, cols_, cols_, true, order_there_, gpu_.stream);
    gpu_.wait("moments in order");
    matrix = DeviceArray();
    return out;
  };
  gram_ = square(moments.gram);
  drift_ = square(moments.drift);
  if (residual_rows_ == 0) return;
  residual_ = reordered(moments.residual, residual_rows_, cols_, false, order_there_, gpu_.stream);
  gpu_.wait("moments in order");
}

void DeviceProblem::build_factor(std::string_view tensor) {
  DeviceArray there(floats(cols_));
  std::vector<float> energy(static_cast<size_t>(cols_));
  diagonal(gram_.as<float>(), cols_, there.as<float>(), gpu_.stream);
  gpu_.download(energy.data(), there.as<float>(), floats(cols_));
  double mean = 0;
  for (const float value : energy) mean += value;
  mean /= static_cast<double>(cols_);
  if (!(mean > 0)) mean = 1;  // inputs that are always zero: every error is as good as another
  DeviceArray lower(2 * floats(cols_ * cols_));
  bool found = false;
  for (damping_ = asked_damping_; damping_ <= kMaxDamping; damping_ *= 10) {
    reverse_damped(gram_.as<float>(), cols_, damping_ * mean, lower.as<double>(), gpu_.stream);
    found = gpu_.blas->cholesky(cols_, lower.as<double>());
    if (found) break;
  }
  if (!found) fail_factor(tensor);
  damping_ *= mean;
  factor_ = DeviceArray(floats(cols_ * cols_));
  pivots_ = DeviceArray(floats(cols_));
  complete_factor(lower.as<double>(), cols_, factor_.as<float>(), pivots_.as<float>(), gpu_.stream);
  gpu_.wait("a factor");
}

void DeviceProblem::build_chains() {
  constexpr size_t kSquare = 256;
  DeviceArray there(floats(cols_ * kChain));
  std::vector<float> factor(static_cast<size_t>(cols_ * kChain));
  std::vector<float> gram(factor.size());
  std::vector<float> pivots(static_cast<size_t>(cols_));
  diagonal_blocks(factor_.as<float>(), cols_, there.as<float>(), gpu_.stream);
  gpu_.download(factor.data(), there.as<float>(), there.bytes());
  diagonal_blocks(gram_.as<float>(), cols_, there.as<float>(), gpu_.stream);
  gpu_.download(gram.data(), there.as<float>(), there.bytes());
  gpu_.download(pivots.data(), pivots_.as<float>(), pivots_.bytes());
  std::vector<DeviceChain> chains(static_cast<size_t>(cols_ / kChain));
  for (size_t i = 0; i < chains.size(); ++i) {
    const ChainProblem one = make_chain(factor.data() + kSquare * i, gram.data() + kSquare * i,
                                        pivots.data() + kChain * i, damping_);
    static_assert(sizeof(DeviceMetric) == sizeof(codec::ChainMetric));
    std::memcpy(&chains[i].feedback, &one.feedback, sizeof(DeviceMetric));
    std::memcpy(&chains[i].alone, &one.alone, sizeof(DeviceMetric));
    std::copy(one.carry_in.begin(), one.carry_in.end(), chains[i].carry_in);
    std::copy(one.inverse.begin(), one.inverse.end(), chains[i].inverse);
  }
  chains_ = DeviceArray(sizeof(DeviceChain) * chains.size());
  gpu_.upload(chains_.as<void>(), chains.data(), chains_.bytes());
}

// For coders that know nothing of this device: the moments brought back, and all of it anew.
const CodingProblem& DeviceProblem::on_host() const {
  if (on_host_) return *on_host_;
  const auto n = static_cast<size_t>(cols_);
  const auto in_storage_order = [&](const DeviceArray& from, size_t rows, bool rows_too) {
    std::vector<float> ordered(rows * n);
    std::vector<float> out(rows * n);
    gpu_.download(ordered.data(), from.as<float>(), floats(static_cast<int64_t>(rows * n)));
    for (size_t i = 0; i < rows; ++i) {
      const size_t to = rows_too ? static_cast<size_t>(order_[i]) : i;
      for (size_t j = 0; j < n; ++j) {
        out[to * n + static_cast<size_t>(order_[j])] = ordered[i * n + j];
      }
    }
    return out;
  };
  Moments moments;
  moments.cols = cols_;
  moments.gram = in_storage_order(gram_, n, true);
  moments.drift = in_storage_order(drift_, n, true);
  if (residual_rows_ > 0) {
    moments.residual = in_storage_order(residual_, static_cast<size_t>(residual_rows_), false);
  }
  on_host_.emplace(std::move(moments), asked_damping_, tensor_);
  return *on_host_;
}

// ---- coding

// Rows on their way: device memory for so many of them.
struct DeviceProblem::Chunk {
  Chunk(int64_t rows, int64_t columns, const PathJob& from)
      : job(from),
        source(floats(rows * columns)),
        target(floats(rows * columns)),
        coded(floats(rows * columns)),
        work(floats(rows * columns)),
        target_gram(floats(rows * columns)),
        carry(floats(rows * kBlock)),
        scale(floats(rows)),
        codes(static_cast<size_t>(rows * columns)),
        stored(static_cast<size_t>(rows * columns)),
        losses(2 * sizeof(double) * static_cast<size_t>(rows)) {
    view.cols = columns;
    view.bits = from.fit.palettes.bits;
    std::copy_n(from.fit.palettes.a.begin(), 16, view.palettes.a);
    std::copy_n(from.fit.palettes.b.begin(), 16, view.palettes.b);
    view.target = target.as<float>();
    view.coded = coded.as<float>();
    view.work = work.as<float>();
    view.target_gram = target_gram.as<float>();
    view.carry = carry.as<float>();
    view.scale = scale.as<float>();
    view.codes = codes.as<uint8_t>();
  }
  const DeviceChain* chain(const DeviceArray& chains, int64_t first) const {
    return chains.as<DeviceChain>() + first / kChain;
  }

  const PathJob& job;
  DeviceArray source, target, coded, work, target_gram, carry, scale, codes, stored, losses;
  RowsView view = {};
};

// As many as half of the free memory holds, and no more than needed to fill the device.
int64_t DeviceProblem::rows_at_once(int64_t rows) const {
  constexpr int64_t kElements = int64_t{1} << 27;
  constexpr uint64_t kBytesAnElement = 5 * sizeof(float) + 2;
  size_t free = 0;
  size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "free memory");
  const auto fitting = static_cast<int64_t>(free / 2 / kBytesAnElement);
  return std::clamp<int64_t>(std::min(kElements, fitting) / cols_, 1, rows);
}

CodingLoss DeviceProblem::code(const PathJob& job) const {
  UPG_CHECK(job.reader.stored_cols() == cols_);
  const int64_t step = rows_at_once(job.rows);
  Chunk chunk(step, cols_, job);
  const auto elements = static_cast<size_t>(step * cols_);
  const std::unique_ptr<float[]> source(new float[elements]);
  const std::unique_ptr<uint8_t[]> codes(new uint8_t[elements]);
  std::vector<float> scale(static_cast<size_t>(step));
  std::vector<double> losses(2 * scale.size());
  constexpr int64_t kSlice = 32;  // rows a thread reads or packs at once
  CodingLoss loss;
  for (int64_t first = 0; first < job.rows; first += step) {
    const int64_t count = std::min(step, job.rows - first);
    chunk.view.count = count;
    const auto for_slices = [&](const auto& body) {
      job.team.for_each(base::ceil_div(count, kSlice), [&](int64_t slice, int) {
        const int64_t begin = slice * kSlice;
        body(begin, std::min(kSlice, count - begin));
      });
    };
    for_slices([&](int64_t begin, int64_t some) {
      job.reader.read(first + begin, some, source.get() + begin * cols_);
      job.reader.release(first + begin, some);
    });
    gpu_.upload(chunk.source.as<void>(), source.get(), floats(count * cols_));
    code_chunk(chunk, first);
    gpu_.download(codes.get(), chunk.stored.as<void>(), static_cast<size_t>(count * cols_));
    gpu_.download(scale.data(), chunk.scale.as<void>(), floats(count));
    gpu_.download(losses.data(), chunk.losses.as<void>(), 4 * floats(count));
    for_slices([&](int64_t begin, int64_t some) {
      for (int64_t r = begin; r < begin + some; ++r) {
        job.out.set_row(first + r, codes.get() + r * cols_, scale[static_cast<size_t>(r)]);
      }
    });
    for (size_t r = 0; r < static_cast<size_t>(count); ++r) {
      loss.loss += losses[2 * r];
      loss.power += losses[2 * r + 1];
    }
    if (job.tick) job.tick(static_cast<uint64_t>((first + count) * job.cols));
  }
  return loss;
}

void DeviceProblem::code_chunk(Chunk& chunk, int64_t first_row) const {
  const RowsView& view = chunk.view;
  take_targets(chunk.source.as<float>(), order_there_.as<int32_t>(), chunk.job.fit.levels_per_rms,
               view, gpu_.stream);
  undo_drift(chunk, first_row);
  first_pass(chunk);
  descend(chunk);
  row_losses(view, chunk.losses.as<double>(), gpu_.stream);
  scatter_codes(view, order_there_.as<int32_t>(), chunk.stored.as<uint8_t>(), gpu_.stream);
  gpu_.check_launches("coding rows");
}

void DeviceProblem::undo_drift(Chunk& chunk, int64_t first_row) const {
  const float share = chunk.job.options.drift_share;
  if (share == 0) return;
  const RowsView& v = chunk.view;
  Blas& blas = *gpu_.blas;
  const bool residual = residual_rows_ > 0;
  if (residual) {
    check(cudaMemcpyAsync(v.work, residual_.as<float>() + first_row * cols_,
                          floats(v.count * cols_), cudaMemcpyDeviceToDevice, gpu_.stream),
          "residual moments");
  }
  blas.multiply(v.count, cols_, cols_, {v.target, cols_}, {drift_.as<float>(), cols_},
                residual ? 1 : 0, v.work, cols_);
  blas.solve_unit_upper(v.count, cols_, factor_.as<float>(), v.work, Flipped::kYes);
  divide_columns(v.work, v.count, cols_, pivots_.as<float>(), gpu_.stream);
  blas.solve_unit_upper(v.count, cols_, factor_.as<float>(), v.work, Flipped::kNo);
  add_share(v.target, v.work, share, v.count * cols_, gpu_.stream);
}

// FeedbackCoder::first_pass
void DeviceProblem::first_pass(Chunk& chunk) const {
  const RowsView& v = chunk.view;
  Blas& blas = *gpu_.blas;
  const float* factor = factor_.as<float>();
  for (int64_t block = 0; block < cols_; block += kBlock) {
    if (block > 0) {
      blas.multiply(v.count, kBlock, block, {v.work, cols_}, {factor + block, cols_}, 0, v.carry,
                    kBlock);
    } else {
      check(cudaMemsetAsync(v.carry, 0, floats(v.count * kBlock), gpu_.stream), "coding rows");
    }
    for (int64_t first = block; first < block + kBlock; first += kChain) {
      if (first > block) {
        blas.multiply(v.count, kChain, first - block, {v.work + block, cols_},
                      {factor + block * cols_ + first, cols_}, 1, v.carry + (first - block),
                      kBlock);
      }
      code_chain(v, first, chunk.chain(chains_, first), gpu_.stream);
    }
  }
}

// FeedbackCoder::descend
void DeviceProblem::descend(Chunk& chunk) const {
  const RowsView& v = chunk.view;
  Blas& blas = *gpu_.blas;
  const Blas::Factor gram = {gram_.as<float>(), cols_};
  blas.multiply(v.count, cols_, cols_, {v.target, cols_}, gram, 0, v.target_gram, cols_);
  float* difference = chunk.source.as<float>();
  for (int round = 0; round <= chunk.job.options.rounds; ++round) {
    subtract(v.target, v.coded, v.count * cols_, difference, gpu_.stream);
    blas.multiply(v.count, cols_, cols_, {difference, cols_}, gram, 0, v.work, cols_);
    refit_scales(v, gpu_.stream);
    if (round == chunk.job.options.rounds) break;
    for (int64_t block = 0; block < cols_; block += kBlock) improve_block(chunk, block);
  }
}

void DeviceProblem::improve_block(Chunk& chunk, int64_t block) const {
  const RowsView& v = chunk.view;
  Blas& blas = *gpu_.blas;
  const float* gram = gram_.as<float>();
  for (int64_t first = block; first < block + kBlock; first += kChain) {
    improve_chain(v, first, chunk.chain(chains_, first), gpu_.stream);
    // The rest of this block sees the change at once.
    blas.multiply(v.count, kBlock, kChain, {v.carry + (first - block), kBlock},
                  {gram + first * cols_ + block, cols_}, 1, v.work + block, cols_);
  }
  const int64_t rest = cols_ - block - kBlock;
  if (rest == 0) return;
  blas.multiply(v.count, rest, kBlock, {v.carry, kBlock},
                {gram + block * cols_ + block + kBlock, cols_}, 1, v.work + block + kBlock, cols_);
}

}  // namespace upg::compression::cuda
