#include "base/shared_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "base/check.h"
#include "upg/error.h"

namespace upg::base {

SharedLibrary::SharedLibrary(std::initializer_list<const char*> names) : name_(*names.begin()) {
  for (const char* name : names) {
    if ((handle_ = dlopen(name, RTLD_NOW)) == nullptr) continue;
    name_ = name;
    return;
  }
}

void* SharedLibrary::address(const char* function_name) const {
  UPG_CHECK(is_found());
  void* const address = dlsym(handle_, function_name);
  if (address == nullptr) {
    throw Error(ErrorCode::kDevice, fmt::format("{} lacks {}", name_, function_name));
  }
  return address;
}

}  // namespace upg::base
