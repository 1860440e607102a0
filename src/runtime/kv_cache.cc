#include "runtime/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "base/text.h"
#include "upg/error.h"

namespace upg::runtime {
namespace {

using kernels::kPageTokens;
using kernels::KvType;

constexpr std::array<std::pair<std::string_view, KvType>, 3> kTypes = {
    {{"f32", KvType::kF32}, {"f16", KvType::kF16}, {"q8_0", KvType::kQ8}}};

size_t page_bytes_of(const KvShape& shape, KvType type) {
  return static_cast<size_t>(shape.kv_heads) * kPageTokens *
         kernels::kv_row_bytes(type, shape.head_dim);
}

[[noreturn]] void fail_memory(const CacheRequest& request, int64_t context, uint64_t bytes) {
  throw Error(ErrorCode::kOutOfMemory,
              fmt::format("KV cache: {} x {} tokens need {}, available are {}; a smaller "
                          "context or q8_0 needs less",
                          request.sequences, context, base::format_bytes(bytes),
                          base::format_bytes(request.memory)));
}

}  // namespace

size_t KvShape::k_page_bytes() const noexcept { return page_bytes_of(*this, k_type); }
size_t KvShape::v_page_bytes() const noexcept { return page_bytes_of(*this, v_type); }
uint64_t KvShape::page_bytes() const noexcept {
  return static_cast<uint64_t>(layers) * (k_page_bytes() + v_page_bytes());
}

KvType parse_kv_type(std::string_view option, std::string_view name, int head_dim) {
  const auto* row = std::find_if(kTypes.begin(), kTypes.end(),
                                 [name](const auto& type) { return type.first == name; });
  if (row == kTypes.end()) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: found {}, allowed are f32, f16 and q8_0",
                                               option, base::printable(name)));
  }
  if (row->second == KvType::kQ8 && head_dim % 32 != 0) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: q8_0 needs a head size that is a multiple of 32, found {}", option,
                            head_dim));
  }
  return row->second;
}

void check_request(const CacheRequest& request) {
  constexpr int kMaxSequences = 1 << 16;
  if (request.sequences < 1 || request.sequences > kMaxSequences) {
    throw Error(ErrorCode::kUsage, fmt::format("sequences: found {}, allowed 1 to {}",
                                               request.sequences, kMaxSequences));
  }
  if (request.context < 0 || request.context > request.model_context) {
    throw Error(ErrorCode::kUsage,
                fmt::format("context: found {}, allowed 1 to {} (the model's), or 0 for the most",
                            request.context, request.model_context));
  }
}

CachePlan plan_cache(const CacheRequest& request) {
  check_request(request);
  const auto sequences = static_cast<uint64_t>(request.sequences);
  const uint64_t page_of_each =
      base::checked_mul(sequences, request.page_bytes, "KV cache: bytes of a page");
  // Page numbers are int32, positions int.
  const int64_t most_pages = INT32_MAX / kPageTokens / request.sequences;
  int64_t context = std::min(request.context > 0 ? request.context : request.model_context,
                             most_pages * kPageTokens);
  if (request.context == 0) {
    const uint64_t fitting = request.memory / 2 / page_of_each;
    if (fitting == 0) fail_memory(request, kPageTokens, page_of_each);
    context = static_cast<int64_t>(
        std::min(static_cast<uint64_t>(context),
                 std::min(fitting, static_cast<uint64_t>(most_pages)) * kPageTokens));
  }
  const uint64_t bytes = base::checked_mul(static_cast<uint64_t>(pages_for(context)), page_of_each,
                                           "KV cache: bytes of the context");
  if (bytes > request.memory) fail_memory(request, context, bytes);
  return {static_cast<int>(context), pages_for(context) * request.sequences};
}

KvCache::KvCache(const BackendOf& backend_of, const KvShape& shape, int pages)
    : shape_(shape), holders_(static_cast<size_t>(pages)) {
  for (int layer = 0; layer < shape.layers; ++layer) {
    kernels::Backend& backend = backend_of(layer);
    backends_.push_back(&backend);
    const auto count = static_cast<size_t>(pages);
    const auto& k = buffers_.emplace_back(backend.allocate(count * shape.k_page_bytes()));
    kernels::KvLayer entry{k.bytes(), nullptr, shape.k_type, shape.v_type};
    const auto& v = buffers_.emplace_back(backend.allocate(count * shape.v_page_bytes()));
    entry.v = v.bytes();
    layers_.push_back(entry);
  }
  // The lowest numbers first, so that a cache that is never full stays compact in memory.
  for (int page = pages - 1; page >= 0; --page) free_.push_back(page);
}

bool KvCache::grow(PageTable& table, int past, int tokens) {
  const auto first = static_cast<size_t>(past / kPageTokens);  // the first page to be written
  const auto needed = static_cast<size_t>(pages_for(int64_t{past} + tokens));
  const bool copy = first < table.size() && holders_[static_cast<size_t>(table[first])] > 1;
  const size_t missing = needed > table.size() ? needed - table.size() : 0;
  UPG_CHECK(table.size() == static_cast<size_t>(pages_for(past)));
  if (missing + (copy ? 1 : 0) > free_.size()) return false;
  if (copy) table[first] = copy_page(table[first]);
  for (size_t i = 0; i < missing; ++i) table.push_back(take());
  return true;
}

void KvCache::truncate(PageTable& table, int tokens) {
  const auto keep = static_cast<size_t>(pages_for(tokens));
  while (table.size() > keep) {
    const int32_t page = table.back();
    table.pop_back();
    if (--holders_[static_cast<size_t>(page)] == 0) free_.push_back(page);
  }
}

PageTable KvCache::share(const PageTable& table, int tokens) {
  UPG_CHECK(static_cast<size_t>(pages_for(tokens)) <= table.size());
  PageTable shared(table.begin(), table.begin() + pages_for(tokens));
  for (const int32_t page : shared) ++holders_[static_cast<size_t>(page)];
  return shared;
}

int32_t KvCache::take() {
  const int32_t page = free_.back();
  free_.pop_back();
  UPG_CHECK(holders_[static_cast<size_t>(page)] == 0);
  holders_[static_cast<size_t>(page)] = 1;
  return page;
}

// By way of the host: a page is small and a fork rare.
int32_t KvCache::copy_page(int32_t page) {
  const int32_t copy = take();
  --holders_[static_cast<size_t>(page)];
  std::vector<std::byte> bytes(std::max(shape_.k_page_bytes(), shape_.v_page_bytes()));
  const auto move = [&](kernels::Backend& backend, std::byte* base, size_t size) {
    backend.download(bytes.data(), base + static_cast<size_t>(page) * size, size);
    backend.upload(base + static_cast<size_t>(copy) * size, bytes.data(), size);
  };
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    move(*backends_[layer], layers_[layer].k, shape_.k_page_bytes());
    move(*backends_[layer], layers_[layer].v, shape_.v_page_bytes());
  }
  return copy;
}

}  // namespace upg::runtime
