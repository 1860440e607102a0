#include "kernels/backend.h"

#include <algorithm>
#include <utility>

#include "base/machine.h"

namespace upg::kernels {

Buffer::Buffer(Buffer&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(owner_, other.owner_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (owner_ != nullptr && data_ != nullptr) owner_->release(data_, bytes_);
}

uint64_t Backend::available_memory() const { return base::available_memory(); }

void Backend::best_ids(std::span<int32_t> ids, const float* logits, int64_t vocabulary) {
  std::vector<float> row(static_cast<size_t>(vocabulary));
  for (int32_t& id : ids) {
    download(row.data(), logits, row.size() * sizeof(float));
    id = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    logits += vocabulary;
  }
}

bool Backend::choose_ids(std::span<int32_t>, float*, int64_t, std::span<const TokenChoice>) {
  return false;
}

bool Backend::for_rows_in_place(int64_t, const std::function<void(int64_t)>&) { return false; }

size_t kv_row_bytes(KvType type, int head_dim) noexcept {
  const auto values = static_cast<size_t>(head_dim);
  switch (type) {
    case KvType::kF32:
      return values * 4;
    case KvType::kF16:
      return values * 2;
    case KvType::kQ8:
      return values / kQ8Values * kQ8Bytes;
  }
  return 0;
}

}  // namespace upg::kernels
