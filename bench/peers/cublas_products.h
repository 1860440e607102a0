// cuBLAS beside upg: products of bf16 weights with a few vectors, from the library if it is there.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "cuda_device.h"

namespace upg::bench {

struct Product {
  int64_t rows;
  int64_t cols;
};

bool has_cublas();

// Products in turn, each with weights of its own and `inputs` vectors.
class CublasProducts {
 public:
  // Throws Error: no library, too little memory, or a wrong result of the first product.
  CublasProducts(std::span<const Product> products, int inputs);
  ~CublasProducts();

  // Seconds of `count` products.
  double time_products(int64_t count);
  // Seconds of all of them, `count` times: a CUDA graph.
  double time_chains(int64_t count);

 private:
  void multiply(size_t index);
  void check_first();
  cudaGraphExec_t chain();

  std::vector<Product> products_;
  std::vector<int64_t> begins_;  // weights before
  int inputs_;
  size_t next_ = 0;
  DeviceStream stream_;
  kernels::cuda::DeviceArray w_, x_, y_, workspace_;
  std::unique_ptr<void, int (*)(void*)> handle_{nullptr, nullptr};
  cudaGraphExec_t chain_ = nullptr;
};

}  // namespace upg::bench
