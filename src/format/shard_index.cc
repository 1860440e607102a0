#include "format/shard_index.h"

#include <fmt/format.h>

#include <set>

#include "base/text.h"
#include "format/folder.h"
#include "format/json_cursor.h"
#include "format/safetensors.h"

namespace upg::format {
namespace {

constexpr size_t kMaxShardName = 1024;  // longer than any plain name, so that PATH is what is said

ShardIndex read_weight_map(JsonCursor& cursor) {
  ShardIndex index;
  std::set<std::string> shards;
  cursor.object("weight_map", "FIELD", [&](std::string tensor, uint64_t at) {
    cursor.set_context(fmt::format("weight_map: \"{}\": ", base::printable(tensor)));
    if (index.size() == kMaxTensors) {
      cursor.fail_at(at, "LIMIT", fmt::format("more than {} tensors", kMaxTensors));
    }
    std::string shard = cursor.string("shard", "FIELD", kMaxShardName);
    if (!is_plain_name(shard)) {
      cursor.fail_at(at, "PATH",
                     fmt::format("shard: found \"{}\", allowed is the plain name of a file in the "
                                 "folder",
                                 base::printable(shard)));
    }
    if (shards.insert(shard).second && shards.size() > kMaxShards) {
      cursor.fail_at(at, "LIMIT", fmt::format("more than {} shards", kMaxShards));
    }
    if (!index.emplace(std::move(tensor), std::move(shard)).second) {
      cursor.fail_at(at, "DUP", "tensor occurs twice");
    }
    cursor.set_context("");
  });
  return index;
}

}  // namespace

ShardIndex parse_shard_index(std::string_view text, std::string_view file) {
  JsonCursor cursor(text, file, 0);
  if (text.size() > kMaxIndexBytes) {
    cursor.fail("LIMIT", fmt::format("{} bytes, allowed are {}", text.size(), kMaxIndexBytes));
  }
  const size_t valid = base::valid_utf8_prefix(text);
  if (valid != text.size()) cursor.fail_at(valid, "UTF8", "invalid UTF-8");
  ShardIndex index;
  bool seen = false;
  std::set<std::string> keys;
  cursor.object("index", "FIELD", [&](const std::string& key, uint64_t at) {
    const bool is_map = key == "weight_map";
    if (!keys.insert(key).second) {
      cursor.fail_at(at, "DUP", fmt::format("key \"{}\" occurs twice", base::printable(key)));
    }
    if (keys.size() > 64) cursor.fail_at(at, "LIMIT", "more than 64 keys");
    seen = seen || is_map;
    if (is_map) {
      index = read_weight_map(cursor);
    } else {
      cursor.skip_value();
    }
  });
  if (cursor.rest().find_first_not_of(" \t\r\n") != std::string_view::npos) {
    cursor.fail("JSON", "more text after the index");
  }
  if (!seen) cursor.fail("FIELD", "weight_map is missing");
  if (index.empty()) cursor.fail("FIELD", "weight_map: found no entries, allowed is at least one");
  return index;
}

}  // namespace upg::format
