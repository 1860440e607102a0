// Whether time grows with the non-zeros alone, how fast primes are looked up, and how fast matrices
// become dense: each beside what limits it, measured in the same run.
//
//   build/release/bench/scaling_bench [--threads N] [--largest 20480]
//
// Matrices are square and half full (mdcsr) or dense (path3); each size is rotated through at least
// 128 MB, so that all come from memory. Weights and codes are random.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/machine.h"
#include "base/threads.h"
#include "codec/primes.h"
#include "kernels/backend.h"
#include "kernels/dense.h"

namespace upg::bench {
namespace {

constexpr int64_t kStreamedBytes = int64_t{128} << 20;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The shortest of the runs of `body` in half a second, at least three.
template <class Body>
double best_time(const Body& body) {
  double best = 1e30;
  const double start = now();
  for (int run = 0; run < 3 || now() - start < 0.5; ++run) {
    const double begin = now();
    body();
    best = std::min(best, now() - begin);
  }
  return best;
}

std::vector<uint8_t> random_bytes(size_t count) {
  std::vector<uint8_t> bytes(count + 8);
  std::mt19937_64 random(1);
  for (size_t i = 0; i < count; i += 8) {
    const uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, 8);
  }
  return bytes;
}

// ---- matrices

struct Mdcsr {
  explicit Mdcsr(int64_t n) : side(n), scale(static_cast<size_t>(n), 1.0f) {
    const size_t count = static_cast<size_t>(n * n / 2);
    values.resize(count);
    deltas.resize(count);
    primes.resize(count);
    std::mt19937 random(2);
    for (size_t k = 0; k < count; ++k) {
      values[k] = static_cast<int8_t>(random() % 255 - 127);
      primes[k] = static_cast<uint16_t>(random() % codec::kPrimeCount);
    }
    for (size_t k = 0; k < count; k += 2) {  // two columns apart on average
      const auto first = static_cast<uint8_t>(1 + random() % 3);
      deltas[k] = first;
      deltas[k + 1] = static_cast<uint8_t>(4 - first);
    }
    for (int64_t row = 0; row <= n; ++row) {
      pointers.push_back(static_cast<uint32_t>(row * n / 2));
      if (row < n) deltas[static_cast<size_t>(row * n / 2)] = 0;
    }
  }
  codec::Matrix matrix() const {
    return {side, side,
            codec::MdcsrMatrix{values.data(), deltas.data(), pointers.data(), primes.data(),
                               scale.data()},
            nullptr};
  }
  int64_t bytes() const { return side * side / 2 * 4; }
  int64_t nonzeros() const { return side * side / 2; }

  int64_t side;
  std::vector<int8_t> values;
  std::vector<uint8_t> deltas;
  std::vector<uint16_t> primes;
  std::vector<uint32_t> pointers;
  std::vector<float> scale;
};

struct Path3 {
  explicit Path3(int64_t n)
      : side(n),
        codes(random_bytes(static_cast<size_t>(bytes() + 64))),
        scale(static_cast<size_t>(n), 1.0f) {}
  codec::Matrix matrix() const {
    auto address = reinterpret_cast<uintptr_t>(codes.data());
    codec::PathMatrix w = {.bits = 3,
                           .two_palettes = true,
                           .codes = codes.data() + (64 - address % 64) % 64,
                           .scale = scale.data()};
    for (size_t i = 0; i < 8; ++i) {
      w.level_a[i] = static_cast<int8_t>(10 * static_cast<int>(i) - 35);
      w.level_b[i] = static_cast<int8_t>(25 - 7 * static_cast<int>(i));
    }
    return {side, side, w, nullptr};
  }
  int64_t bytes() const { return side * side * 3 / 8; }
  int64_t nonzeros() const { return side * side; }

  int64_t side;
  std::vector<uint8_t> codes;
  std::vector<float> scale;
};

// ---- time against non-zeros

// Seconds of one product, of a matrix that comes from memory.
template <class Stored>
double product_time(kernels::Backend& backend, int64_t side) {
  const auto count = static_cast<size_t>(
      std::max<int64_t>(1, kStreamedBytes / std::max<int64_t>(1, Stored(side).bytes())));
  std::vector<Stored> copies;
  std::vector<kernels::Linear> linears;
  for (size_t i = 0; i < count; ++i) copies.emplace_back(side);
  for (const Stored& copy : copies) {
    kernels::Linear linear;
    linear.parts.push_back({backend.load(copy.matrix()), {}});
    linear.rows = linear.cols = side;
    linears.push_back(std::move(linear));
  }
  std::vector<float> x(static_cast<size_t>(side), 1.0f);
  std::vector<float> y(static_cast<size_t>(side));
  const double all = best_time([&] {
    for (const kernels::Linear& linear : linears) {
      const kernels::Prepared& input = backend.prepare(x.data(), 1, linear);
      backend.matmul(y.data(), linear, input, 1, kernels::Store::kSet);
    }
  });
  return all / static_cast<double>(count);
}

// The slope of log time against log non-zeros, by least squares, and its standard error.
struct Slope {
  double value;
  double error;
};

Slope slope_of(const std::vector<std::pair<double, double>>& points) {
  const double n = static_cast<double>(points.size());
  double x = 0, y = 0, xx = 0, xy = 0;
  for (const auto& [nonzeros, time] : points) {
    x += std::log(nonzeros) / n;
    y += std::log(time) / n;
  }
  for (const auto& [nonzeros, time] : points) {
    xx += (std::log(nonzeros) - x) * (std::log(nonzeros) - x);
    xy += (std::log(nonzeros) - x) * (std::log(time) - y);
  }
  const double value = xy / xx;
  double rest = 0;
  for (const auto& [nonzeros, time] : points) {
    const double off = std::log(time) - y - value * (std::log(nonzeros) - x);
    rest += off * off;
  }
  return {value, points.size() > 2 ? std::sqrt(rest / (n - 2) / xx) : 0};
}

template <class Stored>
void print_scaling(kernels::Backend& backend, std::string_view codec, int64_t largest,
                   double bandwidth) {
  std::vector<std::pair<double, double>> points;
  for (const int64_t side : {512, 1024, 2048, 5120, 10240, 20480}) {
    if (side > largest) break;
    const double time = product_time<Stored>(backend, side);
    const Stored stored(side);
    points.emplace_back(static_cast<double>(stored.nonzeros()), time);
    const double rate = static_cast<double>(stored.bytes()) / time;
    fmt::print(
        "{:6} {:6}^2  {:9.4f} ms  {:6.2f} G non-zeros/s  {:5.1f} GB/s, {:.2f} of the bandwidth\n",
        codec, side, time * 1e3, static_cast<double>(stored.nonzeros()) / time * 1e-9, rate * 1e-9,
        rate / bandwidth);
  }
  const Slope slope = slope_of(points);
  fmt::print("{:6} slope of log time against log non-zeros: {:.3f} +- {:.3f}\n\n", codec,
             slope.value, slope.error);
}

// ---- primes

void print_lookups() {
  constexpr size_t kCount = 1 << 16;
  std::vector<uint16_t> indices(kCount);
  std::mt19937 random(3);
  for (uint16_t& index : indices) index = static_cast<uint16_t>(random() % codec::kPrimeCount);
  uint32_t sink = 0;
  const double took = best_time([&] {
    const uint32_t* primes = codec::kPrimes.data();
    uint32_t sums[4] = {};
    for (size_t i = 0; i < kCount; i += 4) {
      for (size_t j = 0; j < 4; ++j) sums[j] += primes[indices[i + j]];
    }
    sink += sums[0] + sums[1] + sums[2] + sums[3];
  });
  fmt::print("prime look-ups, random indices, one core: {:.2f} G/s (check {})\n\n",
             static_cast<double>(kCount) / took * 1e-9, sink % 10);
}

// ---- dense

void print_dense(int threads) {
  constexpr int64_t kSide = 5120;
  constexpr int64_t kRows = 32;
  const Path3 stored(kSide);
  base::ThreadTeam team(threads);
  std::vector<float> dense(static_cast<size_t>(kSide * kSide));
  const auto decode = [&](bool in_place) {
    team.for_ranges(kSide, kRows, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t row = begin; row < end; row += kRows) {
        const int64_t to = in_place ? row : thread * kRows;
        kernels::decode_rows(stored.matrix(), row, kRows, dense.data() + to * kSide);
      }
    });
  };
  const double filled = best_time([&] {
    team.for_ranges(kSide, kRows, [&](int64_t begin, int64_t end, int) {
      std::memset(dense.data() + begin * kSide, 1, static_cast<size_t>((end - begin) * kSide) * 4);
    });
  });
  const double took = best_time([&] { decode(true); });
  const double cached = best_time([&] { decode(false); });
  const double count = static_cast<double>(kSide * kSide);
  fmt::print(
      "dense {}^2 from path3: {:.2f} G weights/s, {:.1f} GB/s written (memset: {:.1f}); "
      "{:.2f} G weights/s where the result stays in the caches\n",
      kSide, count / took * 1e-9, 4 * count / took * 1e-9, 4 * count / filled * 1e-9,
      count / cached * 1e-9);
}

}  // namespace
}  // namespace upg::bench

int main(int argc, char** argv) {
  upg::kernels::BackendOptions options;
  int64_t largest = 20480;
  CLI::App app("Time against non-zeros, prime look-ups, dense decoding");
  app.add_option("-t,--threads", options.threads, "0: the physical cores");
  app.add_option("--cpu", options.cpu, "An instruction set by name");
  app.add_option("--largest", largest, "Largest side of a matrix");
  CLI11_PARSE(app, argc, argv);
  const auto backend = upg::kernels::create_backend(options);
  const double bandwidth = upg::base::measure_read_bandwidth(backend->threads(), 1.0);
  fmt::print("{}, {}; read bandwidth {:.1f} GB/s\n\n", upg::base::cpu_model(), backend->describe(),
             bandwidth * 1e-9);
  upg::bench::print_scaling<upg::bench::Mdcsr>(*backend, "mdcsr", largest, bandwidth);
  upg::bench::print_scaling<upg::bench::Path3>(*backend, "path3", largest, bandwidth);
  upg::bench::print_lookups();
  upg::bench::print_dense(backend->threads());
  return 0;
}
