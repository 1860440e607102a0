// Products of one matrix with a batch of vectors, every codec on every backend of the machine, and
// how their time grows with the non-zeros. Weights come from memory: an iteration takes the next of
// so many copies that no cache holds them.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <span>

#include "kernels/backend.h"
#include "random_matrix.h"
#include "suite.h"
#include "tools/random_model.h"

namespace upg::bench {
namespace {

constexpr int64_t kSide = 5120;
constexpr int64_t kHeadRows = 100352;

struct Case {
  std::string codec;
  int64_t rows = 0;
  int64_t cols = 0;
  std::string backend;
  int batch = 1;
  int threads = 1;
  bool cached = false;  // one matrix again and again: what decoding allows
};

std::string shape_text(const Case& c) {
  return std::to_string(c.rows) + "x" + std::to_string(c.cols);
}

// Four times the last-level cache, and more than most of them.
int64_t streamed_bytes(const Options& options, const Case& c) {
  if (options.tiny) return 1 << 20;
  if (c.backend == "cuda") return kStreamedDeviceBytes;
  const int64_t cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  return std::max<int64_t>(int64_t{128} << 20, 4 * cache);
}

std::shared_ptr<kernels::Backend> backend_named(const std::string& name, int threads) {
  static std::map<std::pair<std::string, int>, std::shared_ptr<kernels::Backend>> kept;
  std::shared_ptr<kernels::Backend>& backend = kept[{name, threads}];
  if (backend) return backend;
  for (const kernels::BackendRow& row : kernels::all_backends()) {
    if (row.name != name) continue;
    kernels::BackendOptions options;
    options.device = row.device;
    if (row.device == "cpu") options.cpu = row.name;
    options.threads = threads;
    backend = kernels::create_backend(options);
  }
  return backend;
}

kernels::Buffer random_input(kernels::Backend& backend, int64_t count) {
  tools::Random random{1};
  std::vector<float> x(static_cast<size_t>(count));
  for (float& value : x) value = static_cast<float>(random.next() >> 40) * 0x1p-23f - 1.0f;
  kernels::Buffer buffer = backend.allocate(x.size() * sizeof(float));
  backend.upload(buffer.floats(), x.data(), x.size() * sizeof(float));
  return buffer;
}

// The copies as the backend multiplies by them. A GPU's have to travel there, so those that were
// asked for last are kept until forget(); a CPU's are views of what kept_copies() may replace.
const std::vector<kernels::Linear>& loaded_copies(kernels::Backend& backend, const Case& c,
                                                  int64_t bytes) {
  static std::vector<kernels::Linear> linears;
  static std::string kept;
  [[maybe_unused]] static const bool registered = [] {
    on_forget([] {
      linears.clear();
      kept.clear();
    });
    return true;
  }();
  const std::string key = c.backend == "cuda" ? c.codec + "/" + shape_text(c) : "";
  if (!key.empty() && kept == key) return linears;
  linears.clear();
  for (const codec::Matrix& matrix : kept_copies(c.codec, c.rows, c.cols, bytes).matrices()) {
    kernels::Linear linear;
    linear.parts.push_back({backend.load(matrix), {}});
    linear.rows = c.rows;
    linear.cols = c.cols;
    linears.push_back(std::move(linear));
    if (c.cached) break;
  }
  kept = key;
  return linears;
}

void product(benchmark::State& state, const Case& c, int64_t bytes) {
  kernels::Backend& backend = *backend_named(c.backend, c.threads);
  const std::vector<kernels::Linear>& linears = loaded_copies(backend, c, bytes);
  const kernels::Buffer x = random_input(backend, c.batch * c.cols);
  const kernels::Buffer y = backend.allocate(static_cast<size_t>(c.batch * c.rows) * sizeof(float));
  size_t next = 0;
  const auto multiply = [&] {
    const kernels::Linear& linear = linears[next];
    next = (next + 1) % linears.size();
    const kernels::Prepared& input = backend.prepare(x.floats(), c.batch, linear);
    backend.matmul(y.floats(), linear, input, c.batch, kernels::Store::kSet);
  };
  if (c.backend != "cuda") return time_loop(state, multiply);
  time_batch(state, [&](int64_t count) {
    const double begin = seconds_now();
    for (int64_t i = 0; i < count; ++i) multiply();
    backend.synchronise();
    return seconds_now() - begin;
  });
}

bool is_sparse(const std::string& codec) { return codec == "sparse" || codec == "mdcsr"; }

bool uses_int8(const std::string& codec) { return codec != "raw" && codec != "mdcsr"; }

// Weights that are not zero by construction.
double nonzeros_of(const Case& c) {
  return static_cast<double>(c.rows * c.cols) * (is_sparse(c.codec) ? 0.5 : 1.0);
}

Benchmark row_of(const Options& options, const Case& c, const std::string& name) {
  Benchmark row;
  row.name = name;
  row.labels = {{"codec", c.codec},
                {"backend", c.backend},
                {"rows", std::to_string(c.rows)},
                {"cols", std::to_string(c.cols)},
                {"batch", std::to_string(c.batch)},
                {"threads", c.backend == "cuda" ? "" : std::to_string(c.threads)},
                {"from", c.cached ? "caches" : "memory"}};
  const auto bytes = static_cast<double>(stored_bytes(c.codec, c.rows, c.cols));
  row.labels["bytes"] = std::to_string(stored_bytes(c.codec, c.rows, c.cols));
  row.amount = nonzeros_of(c);
  row.unit = "weights";
  if (c.backend == "cuda") row.bounds.push_back({kDeviceReadLimit, bytes});
  if (!c.cached && c.backend != "cuda") row.bounds.push_back({read_limit(c.threads), bytes});
  const std::string peak = int8_limit(c.backend, c.threads);
  if (!peak.empty() && uses_int8(c.codec)) {
    row.bounds.push_back({peak, 2.0 * static_cast<double>(c.rows * c.cols * c.batch)});
  }
  row.group = "matrix/" + c.codec + "/" + shape_text(c);
  row.manual_time = c.backend == "cuda";
  row.body = [c, bytes = streamed_bytes(options, c)](auto& state) { product(state, c, bytes); };
  return row;
}

void add_product(const Options& options, const Case& c, Suite& suite) {
  std::string name = "product/" + shape_text(c) + "/" + c.codec + "/" + c.backend +
                     "/batch:" + std::to_string(c.batch);
  if (c.threads != options.threads) name += "/threads:" + std::to_string(c.threads);
  if (c.cached) name += "/cached";
  suite.push_back(row_of(options, c, name));
}

std::vector<std::string> codec_list() {
  std::vector<std::string> names;
  for (const codec::Codec& codec : codec::all_codecs()) names.emplace_back(codec.name);
  return names;
}

// Whether the selection has it; --all takes every one.
bool is_selected(const std::string& backend, const std::string& codec, int batch) {
  if (backend == best_cpu() || backend == "cuda") return true;
  if (backend == "reference") return batch == 1;
  return batch == 1 || codec == "path3";
}

void add_every_backend(const Options& options, int64_t rows, int64_t cols, Suite& suite) {
  for (const std::string& codec : codec_list()) {
    for (const kernels::BackendRow& row : kernels::all_backends()) {
      if (!row.supported()) continue;
      for (const int batch : {1, 4, 16, 64}) {
        const std::string name(row.name);
        if (!options.all && !is_selected(name, codec, batch)) continue;
        add_product(options, {codec, rows, cols, name, batch, options.threads}, suite);
      }
    }
  }
}

// One core, from its caches: what decoding and arithmetic take where memory does not matter.
void add_cached(const Options& options, int64_t side, Suite& suite) {
  for (const kernels::BackendRow& row : kernels::all_backends()) {
    if (!row.supported() || row.device != "cpu") continue;
    for (const char* codec : {"path3", "sparse"}) {
      for (const int batch : {1, 4, 16, 512}) {
        if (batch > 1 && std::string_view(codec) == "sparse") continue;
        Case c = {codec, side, side, std::string(row.name), batch, 1};
        c.cached = true;
        add_product(options, c, suite);
      }
    }
  }
}

// As the default profile stores it, on the backends that are chosen.
void add_best(const Options& options, int64_t rows, int64_t cols, Suite& suite) {
  const char* codec = rows == kHeadRows ? "path4" : "path3";
  std::vector<std::string> backends = {best_cpu()};
  if (has_device()) backends.emplace_back("cuda");
  for (const std::string& backend : backends) {
    for (const int batch : {1, 4, 16, 64}) {
      add_product(options, {codec, rows, cols, backend, batch, options.threads}, suite);
    }
  }
}

}  // namespace

std::vector<std::pair<int64_t, int64_t>> product_shapes(const Options& options) {
  if (options.tiny) return {{512, 512}};
  return {{kSide, kSide}, {7680, kSide}, {35840, kSide}, {kSide, 17920}, {kHeadRows, kSide}};
}

void add_products(const Options& options, Suite& suite) {
  const auto shapes = product_shapes(options);
  const auto [rows, cols] = shapes.front();
  add_every_backend(options, rows, cols, suite);
  add_cached(options, rows, suite);
  for (const auto& shape : std::span(shapes).subspan(1)) {
    if (options.all) {
      add_every_backend(options, shape.first, shape.second, suite);
    } else {
      add_best(options, shape.first, shape.second, suite);
    }
  }
}

void add_scaling(const Options& options, Suite& suite) {
  const std::vector<int64_t> sides =
      options.tiny ? std::vector<int64_t>{128, 256, 512}
                   : std::vector<int64_t>{512, 1024, 2048, 5120, 10240, 20480};
  for (const char* codec : {"mdcsr", "path3"}) {
    for (const int64_t side : sides) {
      const Case c = {codec, side, side, best_cpu(), 1, options.threads};
      suite.push_back(row_of(options, c, "scaling/" + c.codec + "/" + std::to_string(side)));
    }
    for (int threads = 1; threads < options.threads; threads *= 2) {
      const int64_t side = options.tiny ? 512 : kSide;
      const Case c = {codec, side, side, best_cpu(), 1, threads};
      suite.push_back(row_of(options, c,
                             "scaling/" + c.codec + "/" + std::to_string(side) +
                                 "/threads:" + std::to_string(threads)));
    }
  }
}

}  // namespace upg::bench
