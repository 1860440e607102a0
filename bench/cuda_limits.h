// What the device itself can do, measured in this process: reading memory, cuBLAS.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace upg::bench {

// Bytes a second that a kernel reads which does nothing else.
double measure_device_read();

struct Product {
  int64_t rows;
  int64_t cols;
};
// Seconds of all products in turn, each with weights of its own (bf16) and `inputs` vectors, in one
// CUDA graph; median of some runs. Negative, and `problem` says why, when cuBLAS is not there.
double measure_cublas_chain(std::span<const Product> products, int inputs, std::string& problem);

}  // namespace upg::bench
