#include "runtime/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <numeric>

#include "base/text.h"
#include "model/layer_loader.h"

namespace upg::runtime {
namespace {

// What the device's library, the forms of inputs and the parts of attention take besides.
constexpr uint64_t kReserve = uint64_t{256} << 20;

// Of the last `count` layers, with the head; the embedding where nothing stays behind.
uint64_t weights_of(const DeviceNeeds& needs, int count) {
  const uint64_t layers =
      std::accumulate(needs.layers.end() - count, needs.layers.end(), uint64_t{0});
  const bool all = static_cast<size_t>(count) == needs.layers.size();
  return layers + needs.rest + (all ? needs.embedding : 0);
}

uint64_t beside_weights(const DeviceNeeds& needs, int count) {
  const uint64_t taken = weights_of(needs, count) + needs.scratch + kReserve;
  return needs.free > taken ? needs.free - taken : 0;
}

uint64_t cache_bytes(const DeviceNeeds& needs, int count, int64_t pages) {
  return needs.layer_page * static_cast<uint64_t>(count) * static_cast<uint64_t>(pages);
}

int64_t pages_of(const CacheRequest& request, int64_t context) {
  return int64_t{pages_for(context)} * request.sequences;
}

// Tokens that must have room for the choice of layers to be a good one.
int64_t least_context(const CacheRequest& request) {
  if (request.context > 0) return request.context;
  return std::min<int64_t>(request.model_context, kAutoContext);
}

[[noreturn]] void fail(const DeviceNeeds& needs, const CacheRequest& request, int count) {
  const int64_t context = least_context(request);
  const uint64_t weights = weights_of(needs, count);
  const uint64_t cache = cache_bytes(needs, count, pages_of(request, context));
  const uint64_t working = needs.scratch + kReserve;
  throw Error(
      ErrorCode::kOutOfMemory,
      fmt::format("device memory: {} of {} layers need {} (weights {}, cache of {} x {} tokens {}, "
                  "working memory {}), free are {}; fewer --gpu-layers, a smaller context or q8_0 "
                  "need less",
                  count, needs.layers.size(), base::format_bytes(weights + cache + working),
                  base::format_bytes(weights), request.sequences, context,
                  base::format_bytes(cache), base::format_bytes(working),
                  base::format_bytes(needs.free)));
}

bool fits(const DeviceNeeds& needs, const CacheRequest& request, int count) {
  const int64_t pages = pages_of(request, least_context(request));
  const uint64_t taken = weights_of(needs, count) + needs.scratch + kReserve;
  return taken + cache_bytes(needs, count, pages) <= needs.free;
}

int most_layers(const DeviceNeeds& needs, const CacheRequest& request) {
  auto count = static_cast<int>(needs.layers.size());
  while (count > 0 && !fits(needs, request, count)) --count;
  return count;
}

}  // namespace

GpuLayers parse_gpu_layers(std::string_view text) {
  if (text == "auto") return {};
  if (text == "all") return {false, INT_MAX};
  int count = 0;
  const char* end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc() || last != end || count < 0) {
    throw Error(ErrorCode::kUsage, fmt::format("gpu_layers: found \"{}\", allowed are auto, all "
                                               "and 0 or more",
                                               base::printable(text)));
  }
  return {false, count};
}

DevicePlan plan_device(const DeviceNeeds& needs, const GpuLayers& wanted,
                       const CacheRequest& request) {
  check_request(request);
  const auto layers = static_cast<int>(needs.layers.size());
  DevicePlan plan;
  plan.layers = wanted.automatic ? most_layers(needs, request) : std::min(wanted.count, layers);
  if (plan.layers == 0) return plan;
  if (!fits(needs, request, plan.layers)) fail(needs, request, plan.layers);
  CacheRequest cache = request;
  cache.page_bytes = needs.layer_page * static_cast<uint64_t>(plan.layers);
  cache.memory = beside_weights(needs, plan.layers);
  // Half of what is left may be less than what has just been found to fit.
  const bool short_of = cache.context == 0 && plan.layers < layers;
  if (short_of) cache.context = static_cast<int>(least_context(request));
  plan.cache = plan_cache(cache);
  plan.weight_bytes = weights_of(needs, plan.layers);
  plan.cache_bytes = cache_bytes(needs, plan.layers, plan.cache.pages);
  return plan;
}

void fail_device_memory(const DeviceNeeds& needs, const CacheRequest& request) {
  fail(needs, request, 1);
}

DeviceNeeds measure_needs(const model::ModelSource& source, const kernels::Backend& backend,
                          const KvShape& shape, const model::ModelLimits& limits) {
  const model::ModelConfig& config = source.config();
  DeviceNeeds needs;
  needs.layers.resize(static_cast<size_t>(config.layers));
  for (const model::TensorSpec& spec : source.specs()) {
    if (spec.role == model::Role::kVector) continue;  // a few kilobytes: part of the reserve
    const uint64_t bytes = backend.weight_bytes(source.matrix(spec));
    if (spec.role == model::Role::kMatrix) {
      needs.layers[static_cast<size_t>(model::layer_of(spec))] += bytes;
    } else if (spec.role == model::Role::kHead || config.tied_head) {
      needs.rest += bytes;  // a tied embedding is the head, wherever it is read
    } else {
      needs.embedding += bytes;
    }
  }
  needs.layer_page = shape.k_page_bytes() + shape.v_page_bytes();
  needs.scratch = model::scratch_bytes(config, limits);
  needs.free = backend.available_memory();
  return needs;
}

bool keeps_weights(const DeviceNeeds& needs) noexcept {
  return needs.rest > 0 || needs.embedding > 0;
}

}  // namespace upg::runtime
