// A fixed team of threads for loops over ranges.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/topology.h"

namespace upg::base {

// The number of threads worth using: physical cores this process may run on (affinity and the
// container's CPU quota respected), at least 1.
int default_threads() noexcept;

// The caller is one of the team's threads. One loop at a time: a team is used by one thread at
// once.
class ThreadTeam {
 public:
  explicit ThreadTeam(int threads);  // >= 1
  // Where memory has several nodes, each thread but the caller's stays on its node's processors.
  ThreadTeam(int threads, const Topology& topology);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const noexcept;

  // Calls body(thread) once for each thread in [0, size()), at the same time where threads are free
  // (the caller does what others have not begun, so no call may wait for another); returns when all
  // have returned. An exception of the body is rethrown here (the first one; the others still
  // finish).
  void run(const std::function<void(int thread)>& body);

  // Splits [0, count) into one contiguous range a thread, bounds multiples of `grain` (but the
  // last), and calls body(begin, end, thread) for those that are not empty. Always the same split.
  void for_ranges(int64_t count, int64_t grain,
                  const std::function<void(int64_t begin, int64_t end, int thread)>& body);

  // Calls body(index, thread) for every index in [0, count), taken one at a time by whoever is
  // free.
  void for_each(int64_t count, const std::function<void(int64_t index, int thread)>& body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace upg::base
