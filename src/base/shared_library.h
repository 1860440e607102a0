// A library of the system that is looked for when it is first needed: what can do without it starts
// without it, and starts sooner.
#pragma once

#include <initializer_list>

namespace upg::base {

// Stays loaded until the program ends: its threads may run its code.
class SharedLibrary {
 public:
  // The first of the names that is in the library path. There must be one.
  SharedLibrary(std::initializer_list<const char*> names);

  bool is_found() const noexcept { return handle_ != nullptr; }
  const char* name() const noexcept { return name_; }  // the one found, else the first

  // Throws Error(kDevice) where the library has no such function. Only when is_found().
  template <class Function>
  void find(const char* function_name, Function& function) const {
    function = reinterpret_cast<Function>(address(function_name));
  }

 private:
  void* address(const char* function_name) const;

  const char* name_;
  void* handle_ = nullptr;
};

}  // namespace upg::base
