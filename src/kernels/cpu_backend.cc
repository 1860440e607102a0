#include "kernels/cpu_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "base/machine.h"
#include "base/memory.h"
#include "kernels/cpu_weight.h"
#include "kernels/dense.h"
#include "kernels/placement.h"
#include "upg/error.h"

namespace upg::kernels {
namespace {

using codec::kRowPadding;

constexpr int kMaxThreads = 1024;
constexpr size_t kHugePageBytes = size_t{2} << 20;

// What one thread should have to do before a second one is worth waking (some microseconds).
constexpr int64_t kFloatsPerThread = 1 << 13;
constexpr int64_t kProductsPerThread = 1 << 17;

int thread_count(const BackendOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads) {
    throw Error(ErrorCode::kUsage,
                fmt::format("threads: found {}, allowed 0 to {}", options.threads, kMaxThreads));
  }
  return options.threads == 0 ? base::default_threads() : options.threads;
}

const CpuOps& checked(const CpuOps& ops, const BackendOptions& options) {
  if (options.activations == Activations::kF32 && ops.matmul_path_float == nullptr) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("activations: found f32, allowed int8 on {}; --device reference "
                            "computes with f32",
                            ops.name));
  }
  return ops;
}

const CpuWeight& weight_of(const Weight& weight) { return static_cast<const CpuWeight&>(weight); }

// How many items of `floats` values each make a thread's work.
int64_t grain(int64_t floats) {
  return std::max<int64_t>(1, kFloatsPerThread / std::max<int64_t>(1, floats));
}

void add_bias(const float* bias, int64_t rows, const Output& out, RowRange range) {
  for (int64_t i = 0; i < rows; ++i) {
    float* y = out.y + i * out.stride;
    for (int64_t r = range.begin; r < range.end; ++r) y[r] += bias[r];
  }
}

}  // namespace

CpuBackend::CpuBackend(const CpuOps& ops, const BackendOptions& options)
    : CpuBackend(ops, options, base::topology()) {}

CpuBackend::CpuBackend(const CpuOps& ops, const BackendOptions& options, base::Topology topology)
    : ops_(checked(ops, options)),
      activations_(options.activations),
      topology_(std::move(topology)),
      team_(thread_count(options), topology_) {}

std::string CpuBackend::describe() const {
  const size_t nodes = topology_.nodes.size();
  return fmt::format("{}, {} thread{}{}{}", name(), threads(), threads() == 1 ? "" : "s",
                     nodes > 1 ? fmt::format(" on {} NUMA nodes", nodes) : "",
                     activations_ == Activations::kF32 ? ", f32 activations" : "");
}

// ---- memory

Buffer CpuBackend::allocate(size_t bytes) {
  if (bytes == 0) return {};
  void* data = nullptr;
  // Beyond the machine's memory the system may promise, and kill the process when it is used.
  if (bytes <= base::total_memory()) {
    data = ::operator new (bytes, std::align_val_t{kAlignment}, std::nothrow);
  }
  if (data == nullptr) {
    throw Error(ErrorCode::kOutOfMemory, fmt::format("cannot allocate {} bytes", bytes));
  }
  if (bytes >= kHugePageBytes) base::advise_huge_pages({static_cast<std::byte*>(data), bytes});
  return {this, data, bytes};
}

void CpuBackend::release(void* data, size_t) noexcept {
  ::operator delete (data, std::align_val_t{kAlignment});
}

void CpuBackend::upload(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void CpuBackend::download(void* to, const void* from, size_t bytes) { upload(to, from, bytes); }

std::shared_ptr<const Weight> CpuBackend::load(const codec::Matrix& matrix) {
  place(matrix, topology_, team_.size());
  return std::make_shared<CpuWeight>(matrix, activations_);
}

// ---- a step

void CpuBackend::begin_step(const StepBatch& batch) { step_.begin(batch, team_); }

void CpuBackend::embed(float* x, const Weight& embedding) {
  const codec::Matrix& matrix = weight_of(embedding).matrix();
  team_.for_ranges(step_.tokens(), grain(matrix.cols), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      decode_rows(ops_, matrix, step_.ids()[static_cast<size_t>(t)], 1, x + t * matrix.cols);
    }
  });
}

void CpuBackend::rms_norm(float* y, const float* x, const float* weight, float epsilon,
                          int64_t rows, int64_t cols) {
  team_.for_ranges(rows, grain(cols), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      ops_.rms_norm(y + i * cols, x + i * cols, weight, epsilon, cols);
    }
  });
}

const Prepared& CpuBackend::prepare(const float* x, int64_t rows, const Linear& linear) {
  forms_.clear();
  for (const Linear::Part& part : linear.parts) forms_.push_back(weight_of(*part.weight).form());
  prepared_.fill(ops_, team_, x, rows, linear.cols, forms_);
  return prepared_;
}

// The row blocks of all parts in one loop over threads. A thread's share is contiguous: it streams.
// With several memory nodes each part is divided on its own, as place() has laid it out.
void CpuBackend::matmul(float* y, const Linear& linear, const Prepared& x, int64_t rows,
                        Store store) {
  const auto& input = static_cast<const PreparedInput&>(x);
  const int64_t products = std::max<int64_t>(1, kRowPadding * linear.cols * rows);
  const int64_t at_once = std::max<int64_t>(1, kProductsPerThread / products);
  const bool apart = topology_.nodes.size() > 1;
  int64_t first = 0;
  int64_t blocks = 0;
  const auto multiply = [&] {
    team_.for_ranges(blocks, at_once, [&](int64_t begin, int64_t end, int) {
      multiply_blocks(y, linear, input, rows, store, first + begin, first + end);
    });
  };
  for (const Linear::Part& part : linear.parts) {
    blocks += base::ceil_div<int64_t>(part.weight->rows(), kRowPadding);
    if (!apart) continue;
    multiply();
    first += std::exchange(blocks, 0);
  }
  if (!apart) multiply();
}

void CpuBackend::multiply_blocks(float* y, const Linear& linear, const PreparedInput& x,
                                 int64_t inputs, Store store, int64_t begin, int64_t end) const {
  int64_t first_block = 0;  // of the part
  int64_t first_row = 0;
  for (const Linear::Part& part : linear.parts) {
    const int64_t part_rows = part.weight->rows();
    const RowRange range = {std::max<int64_t>(0, begin - first_block) * kRowPadding,
                            std::min(part_rows, (end - first_block) * kRowPadding)};
    const Output out = {y + first_row, linear.rows, store};
    if (range.begin < range.end) multiply_part(part, range, x, inputs, out);
    first_block += base::ceil_div<int64_t>(part_rows, kRowPadding);
    first_row += part_rows;
  }
}

void CpuBackend::multiply_part(const Linear::Part& part, RowRange range, const PreparedInput& x,
                               int64_t inputs, const Output& out) const {
  weight_of(*part.weight).multiply(ops_, range, x, out);
  if (part.bias.size() > 0) add_bias(part.bias.floats(), inputs, out, range);
}

void CpuBackend::swiglu(float* y, const float* gate_up, int64_t rows, int64_t n) {
  constexpr int64_t kPart = 1024;  // so that a single long vector divides too
  const int64_t parts = base::ceil_div(n, kPart);
  team_.for_ranges(
      rows * parts, kFloatsPerThread / kPart / 2, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t row = i / parts;
          const int64_t column = i % parts * kPart;
          const float* gate = gate_up + row * 2 * n + column;
          ops_.swiglu(y + row * n + column, gate, gate + n, std::min(kPart, n - column));
        }
      });
}

void CpuBackend::gather_rows(float* y, const float* x, std::span<const int32_t> indices,
                             int64_t cols) {
  for (const int32_t index : indices) {
    std::memcpy(y, x + index * cols, sizeof(float) * static_cast<size_t>(cols));
    y += cols;
  }
}

bool CpuBackend::for_rows_in_place(int64_t rows, const std::function<void(int64_t row)>& take) {
  team_.for_each(rows, [&](int64_t row, int) { take(row); });
  return true;
}

}  // namespace upg::kernels
