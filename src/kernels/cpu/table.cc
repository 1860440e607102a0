// The table of one instruction set.
#include "kernels/cpu/ops.h"
#include UPG_ISA_HEADER

namespace upg::kernels::UPG_ISA {

extern const CpuOps table;
constinit const CpuOps table = {
    .name = kName,
    .needs = kNeeds,
    .supported = kSupported,
    .matmul_path = matmul_path,
    .matmul_int8 = matmul_int8,
    .matmul_sparse = matmul_sparse,
    .matmul_mdcsr = matmul_mdcsr,
    .matmul_raw = matmul_raw,
    .level_offset = kLevelOffset,
    .one_tile_from = kOneTileFrom,
    .tile_inputs = kTileInputs,
    .rotate = rotate,
    .quantise = quantise,
    .rms_norm = rms_norm,
    .rope = rope,
    .store_kv = store_kv,
    .attention = attention,
    .swiglu = swiglu,
    .decode_path = decode_path,
    .unrotate = unrotate,
    .matmul_path_float = matmul_path_float,
    .matmul_int8_float = matmul_int8_float,
    .matmul_sparse_float = matmul_sparse_float,
};

}  // namespace upg::kernels::UPG_ISA
