// What a model takes of a device's memory, and how many of its layers go there: arithmetic on
// bytes, decided before anything is loaded.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "model/model.h"
#include "runtime/kv_cache.h"
#include "upg/engine.h"

namespace upg::runtime {

// Bytes.
struct DeviceNeeds {
  std::vector<uint64_t> layers;  // weights of each layer
  uint64_t rest = 0;             // final norm and head
  uint64_t embedding = 0;        // there too where all layers are
  uint64_t layer_page = 0;       // of the KV cache in one layer
  uint64_t scratch = 0;          // between operations
  uint64_t free = 0;
};

// "auto", "all", or a number of layers.
struct GpuLayers {
  bool automatic = true;
  int count = 0;  // at most; INT_MAX: all
};
// Throws Error(kUsage) naming what was found.
GpuLayers parse_gpu_layers(std::string_view text);

struct DevicePlan {
  int layers = 0;  // the last so many, with the head; 0: none of the model
  CachePlan cache;
  uint64_t weight_bytes = 0;
  uint64_t cache_bytes = 0;
};

// request: its page_bytes and memory do not matter. Automatic: all layers where they fit with the
// context that is asked for (else with kAutoContext tokens), else as many as fit, which may be
// none. A number, or all: throws Error(kOutOfMemory) with the figures when they do not fit. Throws
// what plan_cache() throws for the request.
inline constexpr int kAutoContext = 4096;
DevicePlan plan_device(const DeviceNeeds& needs, const GpuLayers& wanted,
                       const CacheRequest& request);

// The figures when nothing of the model fits.
[[noreturn]] void fail_device_memory(const DeviceNeeds& needs, const CacheRequest& request);

// Of a backend that keeps weights in memory of its own: weight bytes of layers are 0 elsewhere.
DeviceNeeds measure_needs(const model::ModelSource& source, const kernels::Backend& backend,
                          const KvShape& shape, const model::ModelLimits& limits);
bool keeps_weights(const DeviceNeeds& needs) noexcept;

}  // namespace upg::runtime
