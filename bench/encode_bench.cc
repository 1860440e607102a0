// How fast are weights turned into codes, and back?
//
// items_per_second is weights a second on one core. Run one with
//   encode_bench --benchmark_filter=Encode/path --benchmark_format=json
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "codec/owned_matrix.h"
#include "codec/path_palette.h"
#include "codec/path_viterbi.h"
#include "codec/primes.h"
#include "codec/rotation.h"

namespace upg::codec {
namespace {

constexpr int64_t kRows = 64;
constexpr int64_t kCols = 5120;

std::vector<float> gaussian(int64_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// The whole encoder after training: scales, search, scales again, packing.
void encode_rows(benchmark::State& state, const Codec& codec) {
  const std::vector<float> w = gaussian(kRows * kCols);
  const auto encoder = codec.encoder(kRows, kCols, kCols, {});
  encoder->train(w.data(), kRows);
  for (auto _ : state) encoder->encode(0, kRows, w.data());
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
}

void train(benchmark::State& state, const Codec& codec) {
  const std::vector<float> w = gaussian(kRows * kCols);
  for (auto _ : state) codec.encoder(kRows, kCols, kCols, {})->train(w.data(), kRows);
}

void decode(benchmark::State& state, const Codec& codec) {
  const std::vector<float> w = gaussian(kRows * kCols);
  const OwnedMatrix matrix = encode_matrix(codec, kRows, kCols, w.data());
  std::vector<float> out(w.size());
  for (auto _ : state) {
    decode_rows(matrix.view(), 0, kRows, out.data());
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
}

// The search alone, one instruction set.
void search(benchmark::State& state, const ViterbiVariant& variant, int bits) {
  constexpr int64_t kChains = 4096;
  const PathFit fit = gaussian_fit(bits);
  std::vector<float> targets = gaussian(kChains * kChainLength);
  for (float& target : targets) target *= fit.levels_per_rms;
  std::vector<uint8_t> codes(targets.size());
  for (auto _ : state) {
    variant.encode(fit.palettes, targets.data(), kChains, kChains, codes.data());
    benchmark::DoNotOptimize(codes.data());
  }
  state.SetItemsProcessed(state.iterations() * kChains * kChainLength);
}

void rotate_rows(benchmark::State& state) {
  std::vector<float> w = gaussian(kRows * kCols);
  const std::vector<uint8_t> signs = make_signs("x", kCols);
  for (auto _ : state) {
    rotate(w.data(), kRows, kCols, signs.data());
    benchmark::DoNotOptimize(w.data());
  }
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
}

void prime_levels(benchmark::State& state) {
  std::mt19937 random(2);
  std::vector<uint16_t> entries(4096);
  for (uint16_t& entry : entries) {
    entry = static_cast<uint16_t>(random() % kPrimeCount | (random() & kSignBit));
  }
  for (auto _ : state) {
    int sum = 0;
    for (const uint16_t entry : entries) sum += level_of(entry);
    benchmark::DoNotOptimize(sum);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(entries.size()));
}

void register_all() {
  for (const ViterbiVariant& variant : viterbi_variants()) {
    if (!variant.supported()) continue;
    for (int bits = 2; bits <= 4; ++bits) {
      const std::string name =
          "Search/" + std::string(variant.name) + "/" + std::to_string(bits) + "bits";
      benchmark::RegisterBenchmark(
          name.c_str(), [variant, bits](benchmark::State& state) { search(state, variant, bits); });
    }
  }
  for (const Codec& codec : all_codecs()) {
    const std::string name(codec.name);
    benchmark::RegisterBenchmark(("Encode/" + name).c_str(), encode_rows, codec);
    benchmark::RegisterBenchmark(("Train/" + name).c_str(), train, codec);
    benchmark::RegisterBenchmark(("Decode/" + name).c_str(), decode, codec);
  }
  benchmark::RegisterBenchmark("Rotate", rotate_rows);
  benchmark::RegisterBenchmark("PrimeLevels", prime_levels);
}

}  // namespace
}  // namespace upg::codec

int main(int argc, char** argv) {
  upg::codec::register_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
