// A library that is used where it is found, and done without where it is not.
#pragma once

#include <dlfcn.h>
#include <fmt/format.h>

#include <initializer_list>

#include "upg/error.h"

namespace upg::bench {

class SharedLibrary {
 public:
  // The first of the names that is in the library path.
  explicit SharedLibrary(std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if ((handle_ = ::dlopen(name, RTLD_NOW)) != nullptr) return;
    }
  }
  bool is_found() const noexcept { return handle_ != nullptr; }

  template <class Function>
  void find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(::dlsym(handle_, name));
    if (function == nullptr) {
      throw Error(ErrorCode::kDevice, fmt::format("CUDA: the library lacks {}", name));
    }
  }

 private:
  void* handle_ = nullptr;
};

inline void check_library(int status, std::string_view what) {
  if (status != 0) throw Error(ErrorCode::kDevice, fmt::format("{}: status {}", what, status));
}

}  // namespace upg::bench
