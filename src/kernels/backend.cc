#include "kernels/backend.h"

#include <utility>

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
