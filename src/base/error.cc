#include "upg/error.h"

#include "base/checked.h"

namespace upg {

int exit_code(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kIo:
      return 1;
    case ErrorCode::kUsage:
      return 2;
    case ErrorCode::kInvalidData:
    case ErrorCode::kUnsupported:
      return 3;
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kDevice:
      return 4;
    case ErrorCode::kCancelled:
      return 130;
  }
  return 1;
}

namespace base {

void throw_overflow(std::string_view what) {
  throw Error(ErrorCode::kInvalidData,
              std::string(what) + ": the size does not fit 64 bits (OVERFLOW)");
}

}  // namespace base
}  // namespace upg
