#include "base/threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/checked.h"

namespace upg::base {
namespace {

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Returns once `value` is no longer `old`. The next loop mostly follows at once, and sleeping and
// waking take longer than it does: it spins for about 25 microseconds before it sleeps.
void wait_while(const std::atomic<uint32_t>& value, uint32_t old) noexcept {
  constexpr int kSpins = 1000;
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

int default_threads() noexcept { return std::min(topology().cores, quota_cpus()); }

// A loop has a part a thread. What a thread has not begun when the caller is done with its own
// part, the caller takes: on a busy machine it waits for no thread that still has to get a core,
// which may take milliseconds where a part takes microseconds.
struct ThreadTeam::Impl {
  explicit Impl(int threads) : size(threads), taken(static_cast<size_t>(threads)) {}

  const int size;
  std::vector<std::thread> workers;
  std::atomic<uint32_t> loop{0};             // the number of the newest
  std::atomic<uint32_t> unfinished{0};       // parts of it
  std::vector<std::atomic<uint32_t>> taken;  // [part]: the newest loop in which somebody took it
  std::atomic<bool> stop{false};
  const std::function<void(int)>* body = nullptr;
  std::mutex mutex;
  std::exception_ptr failure;

  void work(int thread) {
    uint32_t seen = 0;
    while (true) {
      wait_while(loop, seen);
      seen = loop.load();
      if (stop.load()) return;
      take(thread, seen);
    }
  }

  // A thread that comes late finds its part of `number` taken. Whoever takes a part keeps the loop
  // from ending, and so may use what belongs to it.
  void take(int part, uint32_t number) noexcept {
    uint32_t before = number - 1;
    if (!taken[static_cast<size_t>(part)].compare_exchange_strong(before, number)) return;
    try {
      (*body)(part);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
    if (unfinished.fetch_sub(1) == 1) unfinished.notify_one();
  }

  // Wakes everybody for the next loop and returns its number.
  uint32_t start() {
    const uint32_t number = loop.fetch_add(1) + 1;
    loop.notify_all();
    return number;
  }

  void finish() {
    for (uint32_t left = unfinished.load(); left != 0; left = unfinished.load()) {
      wait_while(unfinished, left);
    }
  }
};

ThreadTeam::ThreadTeam(int threads) : ThreadTeam(threads, topology()) {}

ThreadTeam::ThreadTeam(int threads, const Topology& topology) {
  UPG_CHECK(threads >= 1);
  impl_ = std::make_unique<Impl>(threads);
  for (int thread = 1; thread < threads; ++thread) {
    // On a single node the system places threads better than we could.
    std::vector<int> cpus;
    if (topology.nodes.size() > 1) cpus = topology.nodes[topology.node_of(thread, threads)].cpus;
    impl_->workers.emplace_back([impl = impl_.get(), thread, cpus = std::move(cpus)] {
      if (!cpus.empty()) pin_to(cpus);
      impl->work(thread);
    });
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
  impl_->unfinished.store(static_cast<uint32_t>(impl_->size));
  const uint32_t number = impl_->start();
  for (int part = 0; part < impl_->size; ++part) impl_->take(part, number);
  impl_->finish();
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
