// Loading: from a path and options to an engine that can step.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/machine.h"
#include "base/memory.h"
#include "base/text.h"
#include "runtime/engine_state.h"
#include "runtime/engine_text.h"
#include "runtime/generation_config.h"
#include "runtime/memory_plan.h"

namespace upg::runtime {
namespace {

constexpr int kMaxChunk = 1 << 16;
// Rows of logits that one pass through the head computes: enough to use every weight many times,
// few enough to stay small (26 MB at a vocabulary of 100,000).
constexpr int kLogitRows = 64;

kernels::Activations parse_activations(std::string_view name) {
  if (name == "int8") return kernels::Activations::kInt8;
  if (name == "f32") return kernels::Activations::kF32;
  throw Error(ErrorCode::kUsage, fmt::format("activations: found {}, allowed are int8 and f32",
                                             base::printable(name)));
}

kernels::Fusion parse_fusion(std::string_view name) {
  if (name == "none") return kernels::Fusion::kNone;
  if (name == "layer") return kernels::Fusion::kLayer;
  if (name == "token") return kernels::Fusion::kToken;
  throw Error(ErrorCode::kUsage, fmt::format("fusion: found {}, allowed are none, layer and token",
                                             base::printable(name)));
}

std::unique_ptr<kernels::Backend> make_backend(const LoadOptions& options) {
  kernels::BackendOptions backend;
  backend.device = options.device;
  backend.cpu = options.cpu;
  backend.threads = options.threads;
  backend.activations = parse_activations(options.activations);
  backend.fusion = parse_fusion(options.fusion);
  return kernels::create_backend(backend);
}

// Beside a device, or in its place.
std::unique_ptr<kernels::Backend> make_host(const LoadOptions& options) {
  LoadOptions host = options;
  host.device = "cpu";
  return make_backend(host);
}

// What is available once the weights are in memory; where they do not fit (they are mapped, and may
// stay on disk), a quarter of what is available now.
uint64_t cache_memory(uint64_t available, uint64_t weight_bytes) {
  const uint64_t beside = available > weight_bytes ? available - weight_bytes : 0;
  return std::max(beside, available / 4);
}

KvShape cache_shape(const model::ModelConfig& config, const LoadOptions& options) {
  KvShape shape;
  shape.layers = config.layers;
  shape.kv_heads = config.attention.kv_heads;
  shape.head_dim = config.attention.head_dim;
  shape.k_type = parse_kv_type("cache_type_k", options.cache_type_k, shape.head_dim);
  shape.v_type = parse_kv_type("cache_type_v", options.cache_type_v, shape.head_dim);
  return shape;
}

CacheRequest cache_request(const model::ModelConfig& config, const LoadOptions& options) {
  CacheRequest request;
  request.model_context = config.max_positions;
  request.context = options.context;
  request.sequences = options.sequences;
  return request;
}

// pages: of the cache; the fewest there can be before it is planned.
model::ModelLimits choose_limits(const LoadOptions& options, int pages) {
  if (options.chunk < 1 || options.chunk > kMaxChunk) {
    throw Error(ErrorCode::kUsage,
                fmt::format("chunk: found {}, allowed 1 to {}", options.chunk, kMaxChunk));
  }
  model::ModelLimits limits;
  limits.max_tokens = std::min(options.chunk, pages * kernels::kPageTokens);
  limits.max_logits = std::min(limits.max_tokens, kLogitRows);
  return limits;
}

// How much of the model goes where, and how large its cache is.
struct LoadPlan {
  KvShape shape;
  CachePlan cache;
  int host_layers = 0;
  bool on_host = false;  // nothing of it on the device
};

MemoryPlan public_plan(const DeviceNeeds& needs, const DevicePlan& plan, const LoadOptions& options,
                       std::string device) {
  MemoryPlan out;
  out.device = std::move(device);
  out.free_bytes = needs.free;
  out.weight_bytes = plan.weight_bytes;
  out.cache_bytes = plan.cache_bytes;
  out.scratch_bytes = needs.scratch;
  out.layers = static_cast<int>(needs.layers.size());
  out.device_layers = plan.layers;
  out.context = plan.cache.context;
  out.sequences = options.sequences;
  return out;
}

CachePlan plan_on_host(const model::ModelSource& source, const CacheRequest& wanted,
                       const KvShape& shape, uint64_t available) {
  CacheRequest request = wanted;
  request.page_bytes = shape.page_bytes();
  request.memory = cache_memory(available, source.file_bytes());
  return plan_cache(request);
}

LoadPlan plan_load(const model::ModelSource& source, const LoadOptions& options,
                   const kernels::Backend& backend) {
  LoadPlan load;
  load.shape = cache_shape(source.config(), options);
  const CacheRequest request = cache_request(source.config(), options);
  const GpuLayers wanted = parse_gpu_layers(options.gpu_layers);
  const model::ModelLimits limits = choose_limits(options, kMaxChunk / kernels::kPageTokens);
  const DeviceNeeds needs = measure_needs(source, backend, load.shape, limits);
  if (!keeps_weights(needs)) {
    load.cache = plan_on_host(source, request, load.shape, needs.free);
    return load;
  }
  const DevicePlan plan = plan_device(needs, wanted, request);
  if (plan.layers == 0) {
    if (wanted.automatic && options.device != "auto") fail_device_memory(needs, request);
    load.on_host = true;
    load.cache = plan_on_host(source, request, load.shape, base::available_memory());
    return load;
  }
  if (options.on_plan) {
    options.on_plan(public_plan(needs, plan, options, backend.describe()));
  }
  load.cache = plan.cache;
  load.host_layers = load.shape.layers - plan.layers;
  return load;
}

void lock_weights(const model::ModelSource& source) {
  for (const std::span<const std::byte> bytes : source.mappings()) {
    base::lock_memory(bytes, base::printable(source.path().native()));
  }
}

}  // namespace

EngineState::EngineState() = default;
EngineState::~EngineState() = default;

void EngineState::load(const std::filesystem::path& path, const LoadOptions& options) {
  load(path, options, make_backend(options));
}

void EngineState::load(const std::filesystem::path& path, const LoadOptions& options,
                       std::unique_ptr<kernels::Backend> on) {
  const auto start = std::chrono::steady_clock::now();
  backend = std::move(on);
  source = model::ModelSource::open(path);
  if (options.mlock) lock_weights(*source);
  const LoadPlan plan = plan_load(*source, options, *backend);
  if (plan.on_host) backend = make_host(options);
  if (plan.host_layers > 0) host = make_host(options);
  sampling = sampling_defaults(source->generation_config_text(),
                               part_name(*source, "generation_config.json"));
  text = Text::load(*source);
  const model::ModelLimits limits = choose_limits(options, plan.cache.pages);
  model = std::make_unique<model::Model>(source, *backend, limits,
                                         model::HostPart{host.get(), plan.host_layers});
  const auto backend_of = [this](int layer) -> kernels::Backend& {
    return model->backend_of(layer);
  };
  cache = std::make_unique<KvCache>(backend_of, plan.shape, plan.cache.pages);
  describe(plan.cache.context, plan.host_layers);
  const auto took = std::chrono::steady_clock::now() - start;
  info.load_seconds = std::chrono::duration<double>(took).count();
}

void EngineState::describe(int context, int host_layers) {
  const model::ModelConfig& config = source->config();
  info.file = source->path().string();
  info.architecture = config.architecture;
  info.profile = source->profile();
  info.parameters = model->parameters();
  info.file_bytes = source->file_bytes();
  info.weight_bytes = model->bytes_per_token();
  info.cache_bytes = cache->bytes();
  info.layers = config.layers;
  info.hidden = static_cast<int>(config.hidden);
  info.vocabulary = static_cast<int>(config.vocabulary);
  info.context = context;
  info.model_context = static_cast<int>(std::min<int64_t>(config.max_positions, INT32_MAX));
  info.backend = backend->describe();
  if (host)
    info.backend += fmt::format("; the first {} layers on {}", host_layers, host->describe());
  info.stop_ids = config.stop_ids;
  if (!text) return;
  if (text->chat_template() != nullptr) info.chat_template = text->chat_template()->name;
  for (const int32_t id : text->stop_ids()) {
    const bool known = std::count(info.stop_ids.begin(), info.stop_ids.end(), id) > 0;
    if (!known && id < info.vocabulary) info.stop_ids.push_back(id);
  }
}

}  // namespace upg::runtime
