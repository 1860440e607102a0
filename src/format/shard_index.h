// model.safetensors.index.json: which shard holds which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace upg::format {

// Tensor name -> shard's file name.
using ShardIndex = std::map<std::string, std::string, std::less<>>;

inline constexpr size_t kMaxIndexBytes = size_t{64} << 20;
inline constexpr size_t kMaxShards = 4096;

// The weight_map of an index. Every shard's name is a plain one (folder.h). Throws
// Error(kInvalidData): LIMIT, JSON, UTF8, DUP, FIELD, PATH.
ShardIndex parse_shard_index(std::string_view text, std::string_view file);

}  // namespace upg::format
