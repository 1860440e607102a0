// The kernels of one instruction set, as its table lists them (contracts: kernels/cpu_ops.h). Each
// source of this folder is compiled once per instruction set, into the namespace UPG_ISA.
#pragma once

#include "kernels/cpu_ops.h"

namespace upg::kernels::UPG_ISA {

void matmul_path(const codec::PathMatrix& w, int64_t cols, RowRange rows, const QuantisedInput& x,
                 const Output& out) noexcept;
void matmul_int8(const codec::Int8Matrix& w, int64_t cols, RowRange rows, const QuantisedInput& x,
                 const Output& out) noexcept;
void matmul_sparse(const codec::SparseMatrix& w, int64_t cols, RowRange rows,
                   const QuantisedInput& x, const Output& out) noexcept;
void matmul_mdcsr(const codec::MdcsrMatrix& w, int64_t cols, RowRange rows, const FloatInput& x,
                  const Output& out) noexcept;
void matmul_raw(const codec::RawMatrix& w, int64_t cols, RowRange rows, const FloatInput& x,
                const Output& out) noexcept;

void matmul_path_float(const codec::PathMatrix& w, int64_t cols, RowRange rows, const FloatInput& x,
                       const Output& out) noexcept;
void matmul_int8_float(const codec::Int8Matrix& w, int64_t cols, RowRange rows, const FloatInput& x,
                       const Output& out) noexcept;
void matmul_sparse_float(const codec::SparseMatrix& w, int64_t cols, RowRange rows,
                         const FloatInput& x, const Output& out) noexcept;

void decode_path(const codec::PathMatrix& w, int64_t blocks, int64_t first, int64_t count,
                 float* out) noexcept;
void rotate(float* x, int64_t cols, const uint8_t* signs) noexcept;
void unrotate(float* x, int64_t cols, const uint8_t* signs) noexcept;
void quantise(const float* x, int64_t cols, int8_t* q, float* scale, int32_t* start) noexcept;

void rms_norm(float* y, const float* x, const float* weight, float epsilon, int64_t cols) noexcept;
void rope(float* head, const float* cos, const float* sin, int dims) noexcept;
void store_kv(std::byte* row, const float* x, int head_dim, KvType type) noexcept;
void attention(const AttentionTask& task) noexcept;
void swiglu(float* y, const float* gate, const float* up, int64_t n) noexcept;

}  // namespace upg::kernels::UPG_ISA
