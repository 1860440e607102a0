// cuBLAS beside upg in the book: products with bf16 weights, and all products of a model's token.
#include <algorithm>
#include <string>

#include "model/source.h"
#include "model_files.h"
#include "peers/cublas_products.h"

namespace upg::bench {
namespace {

// So many copies that no cache of the device holds them.
std::vector<Product> copies_of(const Product& product, bool tiny) {
  const int64_t bytes = 2 * product.rows * product.cols;
  const int64_t streamed = tiny ? 1 : kStreamedDeviceBytes;
  return std::vector<Product>(static_cast<size_t>(std::max<int64_t>(2, streamed / bytes)), product);
}

void add_product(const Options& options, const Product& product, int batch, Suite& suite) {
  const std::string shape = std::to_string(product.rows) + "x" + std::to_string(product.cols);
  const int64_t bytes = 2 * product.rows * product.cols;
  suite.push_back({.name = "product/" + shape + "/bf16/cublas/batch:" + std::to_string(batch),
                   .labels = {{"codec", "bf16"},
                              {"backend", "cuBLAS"},
                              {"rows", std::to_string(product.rows)},
                              {"cols", std::to_string(product.cols)},
                              {"batch", std::to_string(batch)},
                              {"from", "memory"},
                              {"bytes", std::to_string(bytes)}},
                   .amount = static_cast<double>(product.rows * product.cols),
                   .unit = "weights",
                   .bounds = {{kDeviceReadLimit, static_cast<double>(bytes)}},
                   .group = "matrix/bf16/" + shape,
                   .manual_time = true,
                   .body = [copies = copies_of(product, options.tiny), batch](auto& state) {
                     CublasProducts products(copies, batch);
                     time_batch(state,
                                [&](int64_t count) { return products.time_products(count); });
                   }});
}

// The products that a token needs, without the embedding.
std::vector<Product> products_of(const std::filesystem::path& model) {
  const auto source = model::ModelSource::open(model);
  std::vector<Product> products;
  for (const model::TensorSpec& spec : source->specs()) {
    const bool table = spec.role == model::Role::kEmbedding && !source->config().tied_head;
    if (spec.role != model::Role::kVector && !table) products.push_back({spec.rows, spec.cols});
  }
  return products;
}

int64_t bytes_of_products(std::span<const Product> products) {
  int64_t bytes = 0;
  for (const Product& product : products) bytes += 2 * product.rows * product.cols;
  return bytes;
}

bool fits(int64_t bytes) {
  size_t free = 0;
  size_t total = 0;
  kernels::cuda::check(cudaMemGetInfo(&free, &total), "free memory");
  return static_cast<double>(bytes) < 0.8 * static_cast<double>(free);
}

void add_model(const std::filesystem::path& model, Suite& suite) {
  const std::vector<Product> products = products_of(model);
  const int64_t bytes = bytes_of_products(products);
  if (!fits(bytes)) return;
  suite.push_back({.name = "model/" + label_of(model) + "/cublas/products",
                   .labels = {{"model", label_of(model)},
                              {"test", "products"},
                              {"backend", "cuBLAS bf16"},
                              {"file_bytes", std::to_string(bytes)}},
                   .amount = 1,
                   .unit = "tokens",
                   .bounds = {{kDeviceReadLimit, static_cast<double>(bytes)}},
                   .group = "model/" + label_of(model) + "cublas",
                   .manual_time = true,
                   .body = [products](auto& state) {
                     CublasProducts all(products, 1);
                     time_batch(state, [&](int64_t count) { return all.time_chains(count); });
                   }});
}

}  // namespace

void add_cublas(const Options& options, Suite& suite) {
  if (!has_device() || !has_cublas()) return;
  for (const auto& [rows, cols] : product_shapes(options)) {
    for (const int batch : {1, 4, 16, 64}) add_product(options, {rows, cols}, batch, suite);
  }
  for (const std::filesystem::path& model : options.models) add_model(model, suite);
}

}  // namespace upg::bench
