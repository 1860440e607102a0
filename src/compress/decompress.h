// What upg::decompress does, with the size of shards open.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "upg/compress.h"

namespace upg::compression {

struct DecompressOptions {
  std::string_view dtype;  // "bf16", "f16", "f32"; empty: each tensor's own
  int threads = 0;
  int64_t cols = 0;
  uint64_t shard_bytes = 5'000'000'000;  // a file holds at most this, or one tensor
};

// Throws Error as upg::decompress does.
void decompress_file(const std::filesystem::path& file, const std::filesystem::path& folder,
                     const DecompressOptions& options, const ProgressCallback& progress);

}  // namespace upg::compression
