// Products of one matrix with a batch of vectors, every codec on every backend of the machine, and
// how their time grows with the non-zeros. Weights come from memory: an iteration takes the next of
// so many copies that no cache holds them.
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "kernels/backend.h"
#include "random_matrix.h"
#include "suite.h"
#include "tools/random_model.h"

namespace upg::bench {
namespace {

constexpr int64_t kSide = 5120;

struct Case {
  std::string codec;
  int64_t rows = 0;
  int64_t cols = 0;
  std::string backend;
  int batch = 1;
  int threads = 1;
  bool cached = false;  // one matrix again and again: what decoding allows
};

// Four times the last-level cache, and more than most of them.
int64_t streamed_bytes(const Options& options) {
  if (options.tiny) return 1 << 20;
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

void product(benchmark::State& state, const Case& c, int64_t bytes) {
  kernels::Backend& backend = *backend_named(c.backend, c.threads);
  const MatrixCopies& copies = kept_copies(c.codec, c.rows, c.cols, bytes);
  std::vector<kernels::Linear> linears;
  for (const codec::Matrix& matrix : copies.matrices()) {
    kernels::Linear linear;
    linear.parts.push_back({backend.load(matrix), {}});
    linear.rows = c.rows;
    linear.cols = c.cols;
    linears.push_back(std::move(linear));
    if (c.cached) break;
  }
  const kernels::Buffer x = random_input(backend, c.batch * c.cols);
  const kernels::Buffer y = backend.allocate(static_cast<size_t>(c.batch * c.rows) * sizeof(float));
  size_t next = 0;
  time_loop(state, [&] {
    const kernels::Linear& linear = linears[next];
    next = (next + 1) % linears.size();
    const kernels::Prepared& input = backend.prepare(x.floats(), c.batch, linear);
    backend.matmul(y.floats(), linear, input, c.batch, kernels::Store::kSet);
    backend.synchronise();
  });
}

bool is_sparse(const std::string& codec) { return codec == "sparse" || codec == "mdcsr"; }

bool uses_int8(const std::string& codec) { return codec != "raw" && codec != "mdcsr"; }

// Weights that are not zero by construction.
double nonzeros_of(const Case& c) {
  return static_cast<double>(c.rows * c.cols) * (is_sparse(c.codec) ? 0.5 : 1.0);
}

std::string shape_text(const Case& c) {
  return std::to_string(c.rows) + "x" + std::to_string(c.cols);
}

Benchmark row_of(const Options& options, const Case& c, const std::string& name) {
  Benchmark row;
  row.name = name;
  row.labels = {{"codec", c.codec},
                {"backend", c.backend},
                {"rows", std::to_string(c.rows)},
                {"cols", std::to_string(c.cols)},
                {"batch", std::to_string(c.batch)},
                {"threads", std::to_string(c.threads)},
                {"from", c.cached ? "caches" : "memory"}};
  const auto bytes = static_cast<double>(stored_bytes(c.codec, c.rows, c.cols));
  row.labels["bytes"] = std::to_string(stored_bytes(c.codec, c.rows, c.cols));
  row.amount = nonzeros_of(c);
  row.unit = "weights";
  if (!c.cached && c.backend != "cuda") row.bounds.push_back({read_limit(c.threads), bytes});
  const std::string peak = int8_limit(c.backend, c.threads);
  if (!peak.empty() && uses_int8(c.codec)) {
    row.bounds.push_back({peak, 2.0 * static_cast<double>(c.rows * c.cols * c.batch)});
  }
  row.group = "matrix/" + c.codec + "/" + shape_text(c);
  row.body = [c, bytes = streamed_bytes(options)](auto& state) { product(state, c, bytes); };
  return row;
}

void add_product(const Options& options, const Case& c, Suite& suite) {
  std::string name = "product/" + shape_text(c) + "/" + c.codec + "/" + c.backend +
                     "/batch:" + std::to_string(c.batch);
  if (c.threads != options.threads) name += "/threads:" + std::to_string(c.threads);
  if (c.cached) name += "/cached";
  suite.push_back(row_of(options, c, name));
}

// The backend that create_backend() takes by itself, on the CPU.
std::string best_cpu() {
  kernels::BackendOptions options;
  options.device = "cpu";
  return std::string(kernels::select_backend(options).name);
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

}  // namespace

void add_products(const Options& options, Suite& suite) {
  const int64_t side = options.tiny ? 512 : kSide;
  add_every_backend(options, side, side, suite);
  add_cached(options, side, suite);
  if (options.tiny) return;
  // Phi-4's other products: qkv, gate_up, down, head.
  const std::pair<int64_t, int64_t> shapes[] = {
      {7680, 5120}, {35840, 5120}, {5120, 17920}, {100352, 5120}};
  for (const auto& [rows, cols] : shapes) {
    if (options.all) {
      add_every_backend(options, rows, cols, suite);
      continue;
    }
    for (const int batch : {1, 4, 16, 64}) {
      add_product(
          options,
          {rows == 100352 ? "path4" : "path3", rows, cols, best_cpu(), batch, options.threads},
          suite);
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
