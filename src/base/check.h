// CHECK: our own mistakes, always on. DCHECK: the same for hot code, off with NDEBUG.
#pragma once

namespace upg::base {

[[noreturn]] void check_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace upg::base

#define UPG_CHECK(expression) \
  ((expression) ? (void)0 : ::upg::base::check_failed(#expression, __FILE__, __LINE__))

#ifdef NDEBUG
#define UPG_DCHECK(expression) ((void)sizeof(!(expression)))
#else
#define UPG_DCHECK(expression) UPG_CHECK(expression)
#endif
