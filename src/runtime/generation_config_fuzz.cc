// Any bytes as generation_config.json: options the sampler accepts, or an Error.

#include <cstddef>
#include <cstdint>

#include "runtime/generation_config.h"
#include "runtime/sampler.h"
#include "upg/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  upg::SamplingOptions options;
  try {
    options = upg::runtime::sampling_defaults({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const upg::Error&) {
    return 0;
  }
  upg::runtime::check_sampling(options, 100);  // throws, and so fails, when they are out of range
  return 0;
}
