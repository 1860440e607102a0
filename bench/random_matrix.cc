#include "random_matrix.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>

#include "base/check.h"
#include "base/float16.h"
#include "base/memory.h"
#include "codec/primes.h"
#include "codec/rotation.h"
#include "tools/random_model.h"

namespace upg::bench {
namespace {

using codec::PartSpec;

constexpr float kScale = 0.02f;
constexpr size_t kHugePage = size_t{2} << 20;

// A tensor to fill.
struct Target {
  const PartSpec& spec;
  std::span<std::byte> bytes;
};

template <class T>
T* data_of(const Target& part) {
  return reinterpret_cast<T*>(part.bytes.data());
}

template <class T>
int64_t count_of(const Target& part) {
  return static_cast<int64_t>(part.bytes.size() / sizeof(T));
}

size_t bytes_of(const PartSpec& spec) {
  size_t bytes = base::size_of(spec.dtype);
  for (const int64_t dimension : spec.shape) bytes *= static_cast<size_t>(dimension);
  return bytes;
}

void fill_random(const Target& part, tools::Random& random) {
  for (size_t i = 0; i + 8 <= part.bytes.size(); i += 8) {
    const uint64_t word = random.next();
    std::memcpy(part.bytes.data() + i, &word, 8);
  }
}

// A, then B; the largest sum is far below 63. A single palette begins with level 0.
void fill_palette(const Target& part, bool two) {
  auto* entries = data_of<uint16_t>(part);
  const int count = static_cast<int>(part.spec.shape[1]);
  const int step = 80 / count;
  for (int i = 0; i < count; ++i) {
    const int level = two ? step * i - 40 + step / 2 : i == 0 ? 0 : 8 * i - 64;
    entries[i] = codec::entry_of(level);
    entries[count + i] = codec::entry_of(two ? (7 * i) % 23 - 11 : 0);
  }
}

// Of every two words one is the other's complement: half of each block of 128 columns.
void fill_masks(const Target& part, tools::Random& random) {
  auto* words = data_of<uint64_t>(part);
  for (int64_t i = 0; i + 1 < count_of<uint64_t>(part); i += 2) {
    words[i] = random.next();
    words[i + 1] = ~words[i];
  }
}

// Column 0, then steps of two columns on average.
void fill_deltas(const Target& part, int64_t row_entries, tools::Random& random) {
  auto* deltas = data_of<uint8_t>(part);
  for (int64_t i = 0; i < count_of<uint8_t>(part); ++i) {
    const int64_t k = i % row_entries;
    const auto step = static_cast<uint8_t>(1 + random.next() % 3);
    deltas[i] = k == 0 ? uint8_t{0} : k % 2 == 1 ? step : static_cast<uint8_t>(4 - deltas[i - 1]);
  }
}

void fill_raw(const Target& part, tools::Random& random) {
  const auto value = [&] {
    return kScale * (static_cast<float>(random.next() >> 40) * 0x1p-23f - 1.0f);
  };
  for (int64_t i = 0; part.spec.dtype == base::DType::kF32 && i < count_of<float>(part); ++i) {
    data_of<float>(part)[i] = value();
  }
  for (int64_t i = 0; part.spec.dtype != base::DType::kF32 && i < count_of<uint16_t>(part); ++i) {
    data_of<uint16_t>(part)[i] = base::float_to_bf16(value());
  }
}

void fill(const Target& part, std::string_view codec, int64_t rows, int64_t cols,
          tools::Random& random) {
  const std::string_view suffix = part.spec.suffix;
  if (suffix.empty()) return fill_raw(part, random);
  if (suffix == "palette") return fill_palette(part, codec.starts_with("path"));
  if (suffix == "scale" || suffix == "scales") {
    std::fill_n(data_of<float>(part), count_of<float>(part), kScale);
    return;
  }
  if (suffix == "mask") return fill_masks(part, random);
  if (suffix == "delta_indices") return fill_deltas(part, cols / 2, random);
  if (suffix == "offsets" || suffix == "row_pointers") {
    const auto step = static_cast<uint32_t>(suffix == "offsets" ? cols : cols / 2);
    for (int64_t i = 0; i < count_of<uint32_t>(part); ++i) {
      data_of<uint32_t>(part)[i] = static_cast<uint32_t>(i) * step;
    }
    return;
  }
  fill_random(part, random);
  if (suffix == "prime_indices") {
    for (int64_t i = 0; i < count_of<uint16_t>(part); ++i) {
      data_of<uint16_t>(part)[i] %= codec::kPrimeCount;
    }
  }
  if (part.spec.dtype == base::DType::kI8) {  // levels are -127 ... 127
    auto* levels = data_of<int8_t>(part);
    for (int64_t i = 0; i < count_of<int8_t>(part); ++i) {
      levels[i] = std::max<int8_t>(levels[i], -127);
    }
  }
}

// Memory that only grows, in huge pages: getting them costs more than filling them.
class Arena {
 public:
  ~Arena() { release(); }
  std::byte* reserve(size_t bytes) {
    if (bytes > size_) {
      release();
      void* memory = ::mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) throw std::bad_alloc();
      memory_ = static_cast<std::byte*>(memory);
      size_ = bytes;
      base::advise_huge_pages({memory_, size_ + kHugePage});
    }
    const auto address = reinterpret_cast<uintptr_t>(memory_);
    return memory_ + ((address + kHugePage - 1) / kHugePage * kHugePage - address);
  }

 private:
  void release() {
    if (memory_ != nullptr) ::munmap(memory_, size_ + kHugePage);
    memory_ = nullptr;
    size_ = 0;
  }
  std::byte* memory_ = nullptr;
  size_t size_ = 0;
};

Arena& arena() {
  static Arena one;
  return one;
}

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

std::vector<codec::Part> random_parts(const codec::Codec& codec, int64_t rows, int64_t cols) {
  UPG_CHECK(rows % codec::kRowPadding == 0 && cols % codec::kBlockColumns == 0);
  tools::Random random{tools::mix(static_cast<uint64_t>(rows), static_cast<uint64_t>(cols))};
  std::vector<codec::Part> parts;
  for (PartSpec& spec : codec.parts(rows, cols, {})) {
    std::vector<std::byte> bytes(bytes_of(spec));
    fill({spec, bytes}, codec.name, rows, cols, random);
    parts.push_back({std::move(spec), std::move(bytes)});
  }
  return parts;
}

MatrixCopies::MatrixCopies(std::string_view codec_name, int64_t rows, int64_t cols, int64_t bytes)
    : rows_(rows), cols_(cols) {
  const codec::Codec* codec = codec::find_codec(codec_name);
  UPG_CHECK(codec != nullptr && rows % codec::kRowPadding == 0 && cols % codec::kBlockColumns == 0);
  const std::vector<PartSpec> specs = codec->parts(rows, cols, {});
  size_t each = 0;
  for (const PartSpec& spec : specs) each += aligned(bytes_of(spec));
  const size_t copies = std::max<size_t>(1, (static_cast<size_t>(bytes) + each - 1) / each);
  std::byte* first = arena().reserve(copies * each);
  tools::Random random{tools::mix(static_cast<uint64_t>(rows), static_cast<uint64_t>(cols))};
  size_t at = 0;
  for (const PartSpec& spec : specs) {
    fill({spec, {first + at, bytes_of(spec)}}, codec->name, rows, cols, random);
    at += aligned(bytes_of(spec));
  }
  if (codec->rotates) signs_ = codec::make_signs("benchmark", cols);
  for (size_t i = 0; i < copies; ++i) {
    if (i > 0) std::memcpy(first + i * each, first, each);
    matrices_.push_back(bind(*codec, specs, first + i * each));
  }
}

codec::Matrix MatrixCopies::bind(const codec::Codec& codec, const std::vector<PartSpec>& specs,
                                 const std::byte* at) const {
  std::vector<base::TensorView> views;
  for (const PartSpec& spec : specs) {
    views.push_back({spec.dtype, spec.shape, {at, bytes_of(spec)}});
    at += aligned(bytes_of(spec));
  }
  codec::StoredMatrix stored;
  stored.name = "benchmark";
  stored.rows = rows_;
  stored.cols = cols_;
  stored.signs = signs_.empty() ? nullptr : signs_.data();
  stored.part = [&](std::string_view suffix) -> const base::TensorView* {
    for (size_t i = 0; i < specs.size(); ++i) {
      if (specs[i].suffix == suffix) return &views[i];
    }
    return nullptr;
  };
  return codec.bind(stored);
}

const MatrixCopies& kept_copies(std::string_view codec, int64_t rows, int64_t cols, int64_t bytes) {
  static std::string kept_key;
  static std::unique_ptr<MatrixCopies> kept;
  const std::string key = std::string(codec) + ":" + std::to_string(rows) + "x" +
                          std::to_string(cols) + ":" + std::to_string(bytes);
  if (kept_key != key) {
    kept_key.clear();
    kept = std::make_unique<MatrixCopies>(codec, rows, cols, bytes);
    kept_key = key;
  }
  return *kept;
}

int64_t stored_bytes(std::string_view codec_name, int64_t rows, int64_t cols) {
  const codec::Codec* codec = codec::find_codec(codec_name);
  UPG_CHECK(codec != nullptr);
  int64_t total = 0;
  for (const PartSpec& spec : codec->parts(rows, cols, {})) {
    total += static_cast<int64_t>(bytes_of(spec));
  }
  return total;
}

}  // namespace upg::bench
