// How fast whole tokens are on a GPU, beside what the same device reads and what cuBLAS takes for
// the products alone with bf16 weights, all in this process. Weights are random codes of Phi-4's
// shapes (fewer layers: --layers, the times are printed for what was run).
//
//   build/release/bench/cuda_bench --context 512                   batch 1
//   build/release/bench/cuda_bench --context 512 --batch 8         sequences side by side
//   build/release/bench/cuda_bench --prompt 2048                   a prompt in chunks
//   build/release/bench/cuda_bench --codec sparse
//   build/release/bench/cuda_bench --fusion none|layer|token
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/backend.h"
#include "model/model.h"
#include "peers/cublas_products.h"
#include "synthetic_source.h"
#include "upg/error.h"

namespace {

using namespace upg;
using bench::seconds_now;

struct Options {
  bench::SyntheticShape shape;
  std::string fusion = "token";
  std::string device = "cuda";
  std::string cache = "f16";
  std::vector<int> contexts = {512};
  std::vector<int> batches = {1};
  int prompt = 0;
  int chunk = 2048;
  int tokens = 64;
  bool limits = true;
};

kernels::Fusion parse_fusion(const std::string& name) {
  if (name == "none") return kernels::Fusion::kNone;
  return name == "layer" ? kernels::Fusion::kLayer : kernels::Fusion::kToken;
}

// A model with a cache for `sequences` contexts.
class Runner {
 public:
  Runner(const Options& options, kernels::Backend& backend, int sequences, int context)
      : backend_(backend),
        model_(bench::make_synthetic_source(options.shape), backend,
               {.max_tokens = std::max({options.chunk, sequences, 1}),
                .max_logits = std::max(sequences, 1)}),
        context_(context) {
    backend_.synchronise();
    const auto type = options.cache == "q8_0"  ? kernels::KvType::kQ8
                      : options.cache == "f32" ? kernels::KvType::kF32
                                               : kernels::KvType::kF16;
    pages_ = (context + kernels::kPageTokens - 1) / kernels::kPageTokens;
    const kernels::AttentionShape& a = model_.config().attention;
    const size_t bytes = kernels::kv_row_bytes(type, a.head_dim) * static_cast<size_t>(a.kv_heads) *
                         kernels::kPageTokens * static_cast<size_t>(pages_ * sequences);
    for (int layer = 0; layer < model_.config().layers; ++layer) {
      for (int i = 0; i < 2; ++i) {
        buffers_.push_back(backend.allocate(bytes));
        const std::vector<std::byte> zeros(bytes);
        backend.upload(buffers_.back().bytes(), zeros.data(), bytes);
      }
      cache_.push_back({(buffers_.end() - 2)->bytes(), buffers_.back().bytes(), type, type});
    }
    tables_.resize(static_cast<size_t>(sequences));
    for (int s = 0; s < sequences; ++s) {
      tables_[static_cast<size_t>(s)].resize(static_cast<size_t>(pages_));
      std::iota(tables_[static_cast<size_t>(s)].begin(), tables_[static_cast<size_t>(s)].end(),
                s * pages_);
    }
  }

  // Every sequence gets `tokens` more after `past`; logits of the last of each, or none.
  const float* step(int past, int tokens, bool logits) {
    const auto sequences = static_cast<int>(tables_.size());
    std::vector<int32_t> ids, wanted;
    std::vector<kernels::SequenceSlice> slices;
    const kernels::Rope* rope = &model_.rope_for(context_);
    for (int s = 0; s < sequences; ++s) {
      slices.push_back({s * tokens, tokens, past, tables_[static_cast<size_t>(s)]});
      for (int t = 0; t < tokens; ++t) ids.push_back((past + 31 * t + 7 * s) % 1000);
      if (logits) wanted.push_back(s * tokens + tokens - 1);
    }
    const std::vector<const kernels::Rope*> ropes(slices.size(), rope);
    return model_.forward({sequences * tokens, ids, slices, ropes}, cache_, wanted);
  }

  const model::Model& model() const { return model_; }

 private:
  kernels::Backend& backend_;
  model::Model model_;
  int context_;
  int pages_ = 0;
  std::vector<kernels::Buffer> buffers_;
  std::vector<kernels::KvLayer> cache_;
  std::vector<std::vector<int32_t>> tables_;
};

std::vector<bench::Product> products_of(const bench::SyntheticShape& s, bool head) {
  std::vector<bench::Product> all;
  const int64_t head_dim = s.hidden / s.heads;
  const int64_t qkv = (s.heads + 2 * s.kv_heads) * head_dim;
  const int64_t q = s.heads * head_dim;
  for (int layer = 0; layer < s.layers; ++layer) {
    all.push_back({qkv, s.hidden});
    all.push_back({s.hidden, q});
    all.push_back({2 * int64_t{s.intermediate}, s.hidden});
    all.push_back({s.hidden, s.intermediate});
  }
  if (head) all.push_back({s.vocabulary, s.hidden});
  return all;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Tokens one after the other, each waited for, its best logit taken as a greedy run would.
void run_tokens(const Options& options, kernels::Backend& backend, int batch, int context,
                double read, double cublas) {
  const double load = seconds_now();
  Runner runner(options, backend, batch, context + options.tokens + 1);
  const double load_seconds = seconds_now() - load;
  std::vector<double> seconds;
  std::vector<int32_t> ids(static_cast<size_t>(batch));
  uint64_t launches = 0;
  for (int i = 0; i < options.tokens; ++i) {
    const uint64_t before = backend.launches();
    const double start = seconds_now();
    const float* logits = runner.step(context + i, 1, true);
    backend.best_ids(ids, logits, options.shape.vocabulary);
    if (i >= 8) seconds.push_back(seconds_now() - start);
    launches = backend.launches() - before;
  }
  const double typical = median(seconds);
  const double fastest = *std::min_element(seconds.begin(), seconds.end());
  const double bytes = static_cast<double>(runner.model().bytes_per_token());
  fmt::print(
      "{:<8} batch {:>2} context {:>5}: {:8.1f} tok/s (median {:.3f} ms, fastest {:.3f} ms), "
      "{:.0f} GB/s of codes, {} launches, load {:.2f} s",
      options.fusion, batch, context, batch / typical, 1e3 * typical, 1e3 * fastest,
      bytes / typical / 1e9, launches, load_seconds);
  if (read > 0) fmt::print(", {:.0f} % of the read bandwidth", 100 * bytes / typical / read);
  if (cublas > 0) fmt::print(", {:.2f} x cuBLAS ({:.2f} ms)", cublas / typical, 1e3 * cublas);
  fmt::print("\n");
}

void run_prompt(const Options& options, kernels::Backend& backend, double cublas) {
  Runner runner(options, backend, 1, options.prompt);
  std::vector<double> seconds;
  for (int i = 0; i < 4; ++i) {
    const double start = seconds_now();
    for (int past = 0; past < options.prompt; past += options.chunk) {
      const int tokens = std::min(options.chunk, options.prompt - past);
      runner.step(past, tokens, past + tokens == options.prompt);
    }
    backend.synchronise();
    if (i > 0) seconds.push_back(seconds_now() - start);
  }
  const double typical = median(seconds);
  fmt::print("prompt {} in chunks of {}: {:.1f} ms, {:.0f} tok/s", options.prompt, options.chunk,
             1e3 * typical, options.prompt / typical);
  if (cublas > 0) fmt::print(", {:.2f} x cuBLAS ({:.2f} ms)", cublas / typical, 1e3 * cublas);
  fmt::print("\n");
}

// Bytes a second.
double measure_read() {
  constexpr int64_t kBytes = int64_t{4} << 30;
  const bench::DeviceReader reader(kBytes);
  std::vector<double> seconds;
  for (int i = 0; i < 10; ++i) seconds.push_back(reader.time(4) / 4);
  return static_cast<double>(kBytes) / median(seconds);
}

// Seconds of the products alone; 0 without the library.
double measure_cublas(const bench::SyntheticShape& shape, bool head, int inputs) {
  if (!bench::has_cublas()) return 0;
  bench::CublasProducts products(products_of(shape, head), inputs);
  std::vector<double> seconds;
  for (int i = 0; i < 10; ++i) seconds.push_back(products.time_chains(1));
  return median(seconds);
}

void run(const Options& options) {
  double read = 0;
  double cublas = 0;
  double cublas_prompt = 0;
  if (options.limits) {
    read = measure_read();
    fmt::print("reading: {:.0f} GB/s\n", read / 1e9);
    if (!bench::has_cublas()) fmt::print("cuBLAS: libcublas is not in the library path\n");
    cublas = measure_cublas(options.shape, true, 1);
    if (options.prompt > 0) cublas_prompt = measure_cublas(options.shape, false, options.prompt);
  }
  kernels::BackendOptions backend_options;
  backend_options.device = options.device;
  backend_options.fusion = parse_fusion(options.fusion);
  const auto backend = kernels::create_backend(backend_options);
  fmt::print("{}\n", backend->describe());
  if (options.prompt > 0) return run_prompt(options, *backend, cublas_prompt);
  for (const int batch : options.batches) {
    for (const int context : options.contexts) {
      run_tokens(options, *backend, batch, context, read, batch == 1 ? cublas : 0);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Whole tokens on a GPU beside its limits");
  app.add_option("--layers", options.shape.layers)->capture_default_str();
  app.add_option("--codec", options.shape.codec, "10x, path2, path3, path4, sparse")
      ->capture_default_str();
  app.add_option("--fusion", options.fusion, "none, layer, token")->capture_default_str();
  app.add_option("--device", options.device)->capture_default_str();
  app.add_option("--cache", options.cache, "f32, f16, q8_0")->capture_default_str();
  app.add_option("--context", options.contexts)->capture_default_str();
  app.add_option("--batch", options.batches)->capture_default_str();
  app.add_option("--prompt", options.prompt, "Tokens of a prompt instead")->capture_default_str();
  app.add_option("--chunk", options.chunk)->capture_default_str();
  app.add_option("--tokens", options.tokens, "Generated for the median")->capture_default_str();
  app.add_flag("!--no-limits", options.limits, "Do not measure reading and cuBLAS");
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const upg::Error& error) {
    fmt::print(stderr, "cuda_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
