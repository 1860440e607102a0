// An array that only grows, aligned for every vector width, contents undefined: what a backend
// keeps from call to call instead of allocating in each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace upg::kernels {

inline constexpr size_t kAlignment = 64;

template <class T>
class Scratch {
 public:
  // At least `count` elements; what was there is lost. Throws std::bad_alloc.
  T* reserve(int64_t count) {
    if (count > capacity_) {
      capacity_ = 0;
      data_.reset();
      void* data =
          ::operator new (sizeof(T) * static_cast<size_t>(count), std::align_val_t{kAlignment});
      data_.reset(static_cast<T*>(data));
      capacity_ = count;
    }
    return data_.get();
  }

  T* data() const noexcept { return data_.get(); }

 private:
  struct Free {
    void operator()(T* data) const noexcept {
      ::operator delete (data, std::align_val_t{kAlignment});
    }
  };

  std::unique_ptr<T, Free> data_;
  int64_t capacity_ = 0;
};

}  // namespace upg::kernels
