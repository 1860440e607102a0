// A loop over the rows of a matrix in chunks, on all threads, that can be stopped.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/checked.h"
#include "base/threads.h"

namespace upg::compression {

// Called from the calling thread now and then with the elements done so far; it may throw to stop
// the work.
using Tick = std::function<void(uint64_t elements)>;

class ChunkLoop {
 public:
  using Body = std::function<void(int64_t chunk, int64_t first, int64_t count, int thread)>;

  // Chunks of `step` rows. `done`: elements that tick counts as done before this loop.
  ChunkLoop(int64_t rows, int64_t cols, int64_t step, uint64_t done, const Tick& tick)
      : rows_(rows), cols_(cols), step_(step), done_(done), tick_(tick) {}

  int64_t chunks() const noexcept { return base::ceil_div(rows_, step_); }

  // body(chunk, first row, rows, thread) for every chunk. After an exception on one thread the
  // others stop at their next chunk; it is rethrown here.
  void run(base::ThreadTeam& team, const Body& body) {
    team.for_each(chunks(), [&](int64_t chunk, int thread) {
      if (stop_.load(std::memory_order_relaxed)) return;
      try {
        const int64_t first = chunk * step_;
        const int64_t count = std::min(step_, rows_ - first);
        body(chunk, first, count, thread);
        const auto elements = static_cast<uint64_t>(count * cols_);
        const uint64_t done = done_.fetch_add(elements) + elements;
        if (thread == 0 && tick_) tick_(done);
      } catch (...) {
        stop_.store(true);
        throw;
      }
    });
  }

 private:
  int64_t rows_;
  int64_t cols_;
  int64_t step_;
  std::atomic<uint64_t> done_;
  std::atomic<bool> stop_{false};
  const Tick& tick_;
};

// A buffer of floats a thread, made by the thread that first uses it.
class Buffers {
 public:
  Buffers(const base::ThreadTeam& team, int64_t elements)
      : elements_(static_cast<size_t>(elements)), buffers_(static_cast<size_t>(team.size())) {}

  float* of(int thread) {
    std::vector<float>& buffer = buffers_[static_cast<size_t>(thread)];
    if (buffer.empty()) buffer.resize(elements_);
    return buffer.data();
  }

 private:
  size_t elements_;
  std::vector<std::vector<float>> buffers_;
};

}  // namespace upg::compression
