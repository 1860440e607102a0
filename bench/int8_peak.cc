#include "int8_peak.h"

#include <algorithm>
#include <chrono>
#include <iterator>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace upg::bench {
namespace {

constexpr int kRounds = 1 << 16;

// Twelve independent chains hide the latency of every instruction below. One call makes
// kRounds * 12 dot products of `bytes` products each.
struct Loop {
  std::string_view table;
  int bytes;
  void (*run)();
};

#if defined(__x86_64__)

#define UPG_TWELVE(instruction)                                                             \
  instruction(0) instruction(1) instruction(2) instruction(3) instruction(4) instruction(5) \
      instruction(6) instruction(7) instruction(8) instruction(9) instruction(10) instruction(11)

#define UPG_VNNI512(n) "vpdpbusd %%zmm31, %%zmm30, %%zmm" #n "\n"
#define UPG_VEX_VNNI(n) "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #n "\n"
#define UPG_VNNI256(n) "vpdpbusd %%ymm15, %%ymm14, %%ymm" #n "\n"
#define UPG_BW512(n)                       \
  "vpmaddubsw %%zmm31, %%zmm30, %%zmm29\n" \
  "vpmaddwd %%zmm28, %%zmm29, %%zmm27\n"   \
  "vpaddd %%zmm27, %%zmm" #n ", %%zmm" #n "\n"
#define UPG_AVX2(n)                        \
  "vpmaddubsw %%ymm15, %%ymm14, %%ymm13\n" \
  "vpmaddwd %%ymm12, %%ymm13, %%ymm13\n"   \
  "vpaddd %%ymm13, %%ymm" #n ", %%ymm" #n "\n"

#define UPG_LOOP(name, body)                                                                       \
  void name() {                                                                                    \
    int rounds = kRounds;                                                                          \
    asm volatile("1:\n" UPG_TWELVE(body) "dec %0\n jnz 1b\n vzeroupper"                            \
                 : "+r"(rounds)                                                                    \
                 :                                                                                 \
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                   "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc");                    \
  }

UPG_LOOP(vnni512, UPG_VNNI512)
UPG_LOOP(vnni256, UPG_VNNI256)
UPG_LOOP(vex_vnni, UPG_VEX_VNNI)
UPG_LOOP(bw512, UPG_BW512)
UPG_LOOP(avx2, UPG_AVX2)

constexpr Loop kLoops[] = {
    {"avx512vbmi", 64, vnni512}, {"avx512vnni", 64, vnni512}, {"avx512vnni256", 32, vnni256},
    {"avxvnni", 32, vex_vnni},   {"avx512", 64, bw512},       {"avx2", 32, avx2},
};

#else

constexpr Loop kLoops[] = {{"", 0, nullptr}};

#endif

}  // namespace

bool has_int8_peak(std::string_view table) noexcept {
  return std::any_of(std::begin(kLoops), std::end(kLoops),
                     [&](const Loop& loop) { return loop.table == table && loop.run != nullptr; });
}

double measure_int8_peak(std::string_view table, double seconds) {
  using Clock = std::chrono::steady_clock;
  for (const Loop& loop : kLoops) {
    if (loop.table != table || loop.run == nullptr) continue;
    double best = 0;
    const Clock::time_point start = Clock::now();
    do {
      const Clock::time_point begin = Clock::now();
      loop.run();
      const double took = std::chrono::duration<double>(Clock::now() - begin).count();
      best = std::max(best, 2.0 * kRounds * 12 * loop.bytes / took);
    } while (std::chrono::duration<double>(Clock::now() - start).count() < seconds);
    return best;
  }
  return 0;
}

}  // namespace upg::bench
