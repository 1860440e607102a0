#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/checked.h"

namespace upg::base {
namespace {

// Physical cores among the CPUs of the affinity mask: hyper-threads of one core count once.
int physical_cores() noexcept {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return 1;
  std::set<std::pair<int, int>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    int package = 0;
    int core = cpu;
    std::ifstream(folder + "physical_package_id") >> package;
    if (!(std::ifstream(folder + "core_id") >> core)) core = cpu;
    cores.emplace(package, core);
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

// The container's CPU quota (cgroup 2), or a large number when there is none.
int quota_cpus() noexcept {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0;
  double period = 0;
  if (!(file >> quota >> period) || quota <= 0 || period <= 0) return 1 << 20;
  return std::max(1, static_cast<int>(std::lround(quota / period)));
}

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

int default_threads() noexcept { return std::min(physical_cores(), quota_cpus()); }

// Workers spin for a moment after a loop, since the next one usually follows at once, then sleep.
struct ThreadTeam::Impl {
  static constexpr int kSpins = 4000;

  int size = 1;
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<uint64_t> generation{0};
  std::atomic<int> running{0};
  std::atomic<bool> stop{false};
  const std::function<void(int)>* body = nullptr;
  std::exception_ptr failure;

  void work(int thread) {
    uint64_t seen = 0;
    while (true) {
      for (int spin = 0; spin < kSpins && generation.load(std::memory_order_acquire) == seen;
           ++spin) {
        pause();
      }
      if (generation.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return generation.load() != seen; });
      }
      ++seen;
      if (stop.load()) return;
      call(thread);
      running.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  void call(int thread) noexcept {
    try {
      (*body)(thread);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }

  void start() {
    {
      const std::lock_guard lock(mutex);
      generation.fetch_add(1, std::memory_order_release);
    }
    wake.notify_all();
  }
};

ThreadTeam::ThreadTeam(int threads) : impl_(std::make_unique<Impl>()) {
  UPG_CHECK(threads >= 1);
  impl_->size = threads;
  for (int thread = 1; thread < threads; ++thread) {
    impl_->workers.emplace_back([impl = impl_.get(), thread] { impl->work(thread); });
  }
}

ThreadTeam::~ThreadTeam() {
  impl_->stop.store(true);
  impl_->start();
  for (std::thread& worker : impl_->workers) worker.join();
}

int ThreadTeam::size() const noexcept { return impl_->size; }

void ThreadTeam::run(const std::function<void(int thread)>& body) {
  impl_->body = &body;
  impl_->failure = nullptr;
  impl_->running.store(impl_->size - 1);
  if (impl_->size > 1) impl_->start();
  impl_->call(0);
  for (int spins = 0; impl_->running.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < Impl::kSpins * 16) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
  if (impl_->failure) std::rethrow_exception(std::exchange(impl_->failure, nullptr));
}

void ThreadTeam::for_ranges(int64_t count, int64_t grain,
                            const std::function<void(int64_t, int64_t, int)>& body) {
  const int64_t grains = ceil_div(count, grain);
  const int64_t threads = size();
  const auto one = [&](int thread) {
    const int64_t begin = std::min(count, grains * thread / threads * grain);
    const int64_t end = std::min(count, grains * (thread + 1) / threads * grain);
    if (begin < end) body(begin, end, thread);
  };
  if (grains <= 1) {
    if (count > 0) body(0, count, 0);
    return;
  }
  run(one);
}

void ThreadTeam::for_each(int64_t count, const std::function<void(int64_t, int)>& body) {
  std::atomic<int64_t> next{0};
  run([&](int thread) {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i, thread);
  });
}

}  // namespace upg::base
