// The only exception this project throws: for what the outside gets wrong (files, options,
// devices).
//
// Thrown anywhere below the edges, caught at the edges alone: main, the request handler, the Python
// module. The message is one line that names the file, the tensor or field, what was found and what
// is allowed. Our own mistakes are CHECKs (base/check.h), not Errors.
#pragma once

#include <stdexcept>
#include <string>

namespace upg {

enum class ErrorCode {
  kIo,           // reading or writing failed: disk full, permission            exit code 1
  kUsage,        // a wrong option or value; a path that does not exist         exit code 2
  kInvalidData,  // a file breaks its format                                    exit code 3
  kUnsupported,  // well-formed, but this build does not know it                exit code 3
  kOutOfMemory,  // more memory needed than there is or than was allowed        exit code 4
  kDevice,       // the device or instruction set is missing or failed          exit code 4
  kCancelled,    // the caller asked to stop                                    exit code 130
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

// The exit status of a process that ends with this error (docs/cli.md).
int exit_code(ErrorCode code) noexcept;

}  // namespace upg
