// What a GPU itself can do: the book's limit for whatever runs there.
#include "cuda_device.h"

namespace upg::bench {

void add_device_limits(const Options& options, Suite& suite) {
  if (!has_device()) return;
  const int64_t bytes = int64_t{1} << (options.tiny ? 26 : 31);
  suite.push_back({.name = kDeviceReadLimit,
                   .labels = {},
                   .amount = static_cast<double>(bytes),
                   .unit = "bytes",
                   .bounds = {},
                   .group = "limits",
                   .manual_time = true,
                   .body = [=](auto& state) {
                     const DeviceReader reader(bytes);
                     time_batch(state, [&](int64_t count) { return reader.time(count); });
                   }});
}

}  // namespace upg::bench
