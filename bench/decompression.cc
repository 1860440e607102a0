// From stored bytes to dense floats, every codec; and prime look-ups, alone and inside decoding.
#include <memory>
#include <random>

#include "base/memory.h"
#include "base/threads.h"
#include "codec/primes.h"
#include "kernels/dense.h"
#include "random_matrix.h"
#include "suite.h"

namespace upg::bench {
namespace {

constexpr int64_t kRows = 32;  // decoded at once by a thread
constexpr size_t kLookUps = 1 << 16;

// Kept from call to call: touching it for the first time takes longer than filling it.
std::vector<float>& dense_memory(size_t count) {
  static std::vector<float> memory;
  if (memory.size() < count) {
    memory.reserve(count);
    base::advise_huge_pages({reinterpret_cast<const std::byte*>(memory.data()), count * 4});
    memory.resize(count);
  }
  return memory;
}

// `cached`: rows go to the same place again and again, so that writing them costs nothing.
void decompress(benchmark::State& state, const std::string& codec, int64_t side, int threads,
                bool cached) {
  const codec::Matrix& matrix = kept_copies(codec, side, side, 0).matrices().front();
  base::ThreadTeam team(threads);
  std::vector<float>& dense = dense_memory(static_cast<size_t>(side * side));
  time_loop(state, [&] {
    team.for_ranges(side, kRows, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t row = begin; row < end; row += kRows) {
        const int64_t to = cached ? thread * kRows : row;
        kernels::decode_rows(matrix, row, kRows, dense.data() + to * side);
      }
    });
    benchmark::ClobberMemory();
  });
}

void add_codec(const Options& options, const std::string& codec, int threads, bool cached,
               Suite& suite) {
  const int64_t side = options.tiny ? 256 : 5120;
  const std::string shape = std::to_string(side) + "x" + std::to_string(side);
  const auto weights = static_cast<double>(side * side);
  Benchmark row;
  row.name = "decompression/" + shape + "/" + codec + "/threads:" + std::to_string(threads) +
             (cached ? "/cached" : "");
  row.labels = {
      {"codec", codec}, {"threads", std::to_string(threads)}, {"to", cached ? "caches" : "memory"}};
  row.amount = weights;
  row.unit = "weights";
  if (!cached) row.bounds.push_back({write_limit(threads), 4 * weights});
  row.group = "decompression/" + codec;
  row.body = [=](auto& state) { decompress(state, codec, side, threads, cached); };
  suite.push_back(std::move(row));
}

std::vector<uint16_t> random_entries(uint64_t mask) {
  std::vector<uint16_t> entries(kLookUps);
  std::mt19937 random(3);
  for (uint16_t& entry : entries) {
    entry = static_cast<uint16_t>(random() % codec::kPrimeCount | (random() & mask));
  }
  return entries;
}

void table_alone(benchmark::State& state) {
  const std::vector<uint16_t> indices = random_entries(0);
  uint32_t sums[4] = {};
  time_loop(state, [&] {
    const uint32_t* primes = codec::kPrimes.data();
    for (size_t i = 0; i < kLookUps; i += 4) {
      for (size_t j = 0; j < 4; ++j) sums[j] += primes[indices[i + j]];
    }
    benchmark::DoNotOptimize(sums);
  });
}

// A palette's entries as a reader turns them into levels: sign, prime, rounding.
void palette_levels(benchmark::State& state) {
  const std::vector<uint16_t> entries = random_entries(codec::kSignBit);
  time_loop(state, [&] {
    int sum = 0;
    for (const uint16_t entry : entries) sum += codec::level_of(entry);
    benchmark::DoNotOptimize(sum);
  });
}

void add_lookups(const std::string& name, void (*body)(benchmark::State&), Suite& suite) {
  const auto count = static_cast<double>(kLookUps);
  suite.push_back({.name = name,
                   .labels = {{"threads", "1"}},
                   .amount = count,
                   .unit = "look-ups",
                   .bounds = {{kLoadLimit, 2 * count}},
                   .group = "primes",
                   .manual_time = false,
                   .body = body});
}

}  // namespace

void add_decompression(const Options& options, Suite& suite) {
  for (const codec::Codec& codec : codec::all_codecs()) {
    const std::string name(codec.name);
    add_codec(options, name, 1, false, suite);
    if (options.threads > 1) add_codec(options, name, options.threads, false, suite);
    add_codec(options, name, options.threads, true, suite);
  }
}

void add_primes(const Options& options, Suite& suite) {
  add_lookups("primes/table", table_alone, suite);
  add_lookups("primes/palette_levels", palette_levels, suite);
  // MdCSR looks a prime up for every weight that is not zero.
  const int64_t side = options.tiny ? 256 : 1024;
  const auto count = static_cast<double>(side * side) / 2;
  suite.push_back({.name = "primes/mdcsr_decode",
                   .labels = {{"threads", "1"}},
                   .amount = count,
                   .unit = "look-ups",
                   .bounds = {{kLoadLimit, 2 * count}},
                   .group = "primes",
                   .manual_time = false,
                   .body = [=](auto& state) { decompress(state, "mdcsr", side, 1, true); }});
}

}  // namespace upg::bench
