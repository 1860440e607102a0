// The KV cache: pages of 32 tokens that all sequences share.
//
// A sequence holds a list of page numbers (its page table), the same for every layer; a layer's
// keys and values lie in one buffer each, page after page. Pages are counted: several sequences may
// hold the same one, and the first to write into it gets a copy of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/backend.h"

namespace upg::runtime {

// Page i holds tokens [32 i, 32 i + 32) of a sequence.
using PageTable = std::vector<int32_t>;

constexpr int pages_for(int64_t tokens) noexcept {
  return static_cast<int>((tokens + kernels::kPageTokens - 1) / kernels::kPageTokens);
}

struct KvShape {
  int layers = 0;
  int kv_heads = 0;
  int head_dim = 0;
  kernels::KvType k_type = kernels::KvType::kF16;
  kernels::KvType v_type = kernels::KvType::kF16;

  size_t k_page_bytes() const noexcept;  // of one layer
  size_t v_page_bytes() const noexcept;
  uint64_t page_bytes() const noexcept;  // of all layers
};

// "f32", "f16", "q8_0". Throws Error(kUsage) naming the option for anything else, and for q8_0 when
// head_dim is no multiple of 32.
kernels::KvType parse_kv_type(std::string_view option, std::string_view name, int head_dim);

// How large a cache is asked for, and how large it becomes.
struct CacheRequest {
  int64_t model_context = 0;  // tokens the model was made for
  int context = 0;            // asked for; 0: the model's, as far as half of `memory` goes
  int sequences = 1;          // full contexts to have room for
  uint64_t page_bytes = 0;
  uint64_t memory = 0;  // bytes that may be used
};
struct CachePlan {
  int context = 0;
  int pages = 0;
};
// Throws Error(kUsage) for a context or a number of sequences out of range.
void check_request(const CacheRequest& request);
// Throws what check_request() throws, and Error(kOutOfMemory) when the
// context that was asked for, or a single page for each sequence, does not fit.
CachePlan plan_cache(const CacheRequest& request);

// One thread at a time. The backends must outlive it.
class KvCache {
 public:
  // Memory for all pages, which the system provides as they are first written. backend_of: where a
  // layer's cache lies. Throws Error(kOutOfMemory).
  using BackendOf = std::function<kernels::Backend&(int layer)>;
  KvCache(const BackendOf& backend_of, const KvShape& shape, int pages);
  KvCache(kernels::Backend& backend, const KvShape& shape, int pages)
      : KvCache([&backend](int) -> kernels::Backend& { return backend; }, shape, pages) {}

  std::span<const kernels::KvLayer> layers() const noexcept { return layers_; }
  int pages() const noexcept { return static_cast<int>(holders_.size()); }
  int free_pages() const noexcept { return static_cast<int>(free_.size()); }
  uint64_t bytes() const noexcept { return shape_.page_bytes() * holders_.size(); }

  // Makes room for tokens [past, past + tokens) of a sequence that has `past`: pages are added, and
  // a shared one that would be written is copied. False when too few are free: nothing changes.
  bool grow(PageTable& table, int past, int tokens);
  // Lets go of all pages beyond the first `tokens` tokens.
  void truncate(PageTable& table, int tokens);
  // A second table of the first `tokens` tokens, on the same pages.
  PageTable share(const PageTable& table, int tokens);

 private:
  int32_t take();
  int32_t copy_page(int32_t page);

  KvShape shape_;
  std::vector<kernels::Backend*> backends_;  // of each layer
  std::vector<kernels::Buffer> buffers_;     // k, v of each layer
  std::vector<kernels::KvLayer> layers_;
  std::vector<int32_t> free_;     // a stack
  std::vector<int32_t> holders_;  // of each page: how many tables it is in
};

}  // namespace upg::runtime
