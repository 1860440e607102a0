// Any bytes as config.json and generation_config.json: an Error or a config whose every number is
// in range. The input is split at its first NUL byte.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/check.h"
#include "model/tensors.h"
#include "upg/error.h"

namespace {

void check_shape(const upg::model::ModelConfig& config) {
  const upg::kernels::AttentionShape& shape = config.attention;
  UPG_CHECK(shape.heads >= 1 && shape.kv_heads >= 1 && shape.heads % shape.kv_heads == 0);
  UPG_CHECK(shape.head_dim >= 2 && shape.head_dim <= 1024 && shape.head_dim % 2 == 0);
  UPG_CHECK(shape.rotary_dims >= 2 && shape.rotary_dims <= shape.head_dim);
  for (const upg::kernels::Rope* rope : {&config.rope, &config.long_rope}) {
    UPG_CHECK(rope->inv_freq.size() == static_cast<size_t>(shape.rotary_dims / 2));
    for (const float frequency : rope->inv_freq) UPG_CHECK(frequency > 0 && frequency < 1e30f);
    UPG_CHECK(rope->scale > 0 && rope->scale < 1e30f);
  }
}

void check_config(const upg::model::ModelConfig& config) {
  UPG_CHECK(config.norm_epsilon > 0 && config.norm_epsilon <= 1);
  UPG_CHECK(config.windows.size() == static_cast<size_t>(config.layers));
  for (const int window : config.windows) UPG_CHECK(window >= 0 && window < config.max_positions);
  for (const int32_t id : config.stop_ids) UPG_CHECK(id >= 0 && id < config.vocabulary);
  check_shape(config);
  const auto specs = upg::model::tensor_specs(config);
  UPG_CHECK(upg::model::parameter_count(specs) > 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t split = text.find('\0');
  const std::string_view config = text.substr(0, split);
  const std::string_view generation =
      split == std::string_view::npos ? std::string_view() : text.substr(split + 1);
  try {
    check_config(upg::model::parse_config(config, generation, "config.json"));
  } catch (const upg::Error&) {
  }
  return 0;
}
