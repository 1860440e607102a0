// Whether this machine, and its operating system, can run an instruction set.
#pragma once

namespace upg::kernels {

bool has_avx2() noexcept;
bool has_avx512() noexcept;
bool has_avx512vnni() noexcept;
bool has_avx512vbmi() noexcept;
bool has_avxvnni() noexcept;
bool has_avx512vnni256() noexcept;
bool has_neon() noexcept;
bool has_neondot() noexcept;

}  // namespace upg::kernels
