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

// What is available once the weights are in memory; where they do not fit (they are mapped, and may
// stay on disk), a quarter of what is available now.
uint64_t cache_memory(uint64_t available, uint64_t weight_bytes) {
  const uint64_t beside = available > weight_bytes ? available - weight_bytes : 0;
  return std::max(beside, available / 4);
}

struct CacheChoice {
  KvShape shape;
  CachePlan plan;
};

CacheChoice choose_cache(const model::ModelSource& source, const LoadOptions& options,
                         uint64_t available) {
  const model::ModelConfig& config = source.config();
  CacheChoice choice;
  KvShape& shape = choice.shape;
  shape.layers = config.layers;
  shape.kv_heads = config.attention.kv_heads;
  shape.head_dim = config.attention.head_dim;
  shape.k_type = parse_kv_type("cache_type_k", options.cache_type_k, shape.head_dim);
  shape.v_type = parse_kv_type("cache_type_v", options.cache_type_v, shape.head_dim);
  CacheRequest request;
  request.model_context = config.max_positions;
  request.context = options.context;
  request.sequences = options.sequences;
  request.page_bytes = shape.page_bytes();
  request.memory = cache_memory(available, source.file_bytes());
  choice.plan = plan_cache(request);
  return choice;
}

model::ModelLimits choose_limits(const LoadOptions& options, const CachePlan& plan) {
  if (options.chunk < 1 || options.chunk > kMaxChunk) {
    throw Error(ErrorCode::kUsage,
                fmt::format("chunk: found {}, allowed 1 to {}", options.chunk, kMaxChunk));
  }
  model::ModelLimits limits;
  limits.max_tokens = std::min(options.chunk, plan.pages * kernels::kPageTokens);
  limits.max_logits = std::min(limits.max_tokens, kLogitRows);
  return limits;
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
  const CacheChoice choice = choose_cache(*source, options, backend->available_memory());
  sampling = sampling_defaults(source->generation_config_text(),
                               part_name(*source, "generation_config.json"));
  text = Text::load(*source);
  const model::ModelLimits limits = choose_limits(options, choice.plan);
  model = std::make_unique<model::Model>(source, *backend, limits);
  cache = std::make_unique<KvCache>(*backend, choice.shape, choice.plan.pages);
  describe(choice.plan.context);
  const auto took = std::chrono::steady_clock::now() - start;
  info.load_seconds = std::chrono::duration<double>(took).count();
}

void EngineState::describe(int context) {
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
  info.stop_ids = config.stop_ids;
  if (!text) return;
  if (text->chat_template() != nullptr) info.chat_template = text->chat_template()->name;
  for (const int32_t id : text->stop_ids()) {
    const bool known = std::count(info.stop_ids.begin(), info.stop_ids.end(), id) > 0;
    if (!known && id < info.vocabulary) info.stop_ids.push_back(id);
  }
}

}  // namespace upg::runtime
