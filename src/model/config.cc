#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "base/json.h"
#include "base/text.h"
#include "model/architectures.h"
#include "model/fields.h"
#include "model/rope.h"
#include "upg/error.h"

namespace upg::model {
namespace {

// Far above every published model, far below what overflows: products of any three of them and a
// layer count fit int64_t.
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxHidden = int64_t{1} << 17;
constexpr int64_t kMaxIntermediate = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxPositions = int64_t{1} << 30;

const Architecture& read_architecture(const Fields& config) {
  const auto names = config.require("architectures").as_array(config.where("architectures"));
  if (names.size() != 1) {
    config.refuse("architectures", fmt::format("{} names", names.size()), "one name");
  }
  const std::string_view name = names[0].as_string(config.where("architectures[0]"));
  const Architecture* row = find_architecture(name);
  if (row == nullptr) {
    config.unsupported("architectures", fmt::format("\"{}\"", base::printable(name)),
                       architecture_names());
  }
  return *row;
}

void refuse_flag(const Fields& config, std::string_view key) {
  if (config.flag(key)) config.unsupported(key, "true", "false");
}

// Options that would change the graph and that it does not have.
void refuse_options(const Fields& config) {
  refuse_flag(config, "attention_bias");
  refuse_flag(config, "mlp_bias");
  refuse_flag(config, "use_mrope");
  const std::string_view activation = config.text("hidden_act");
  if (activation != "silu") {
    config.unsupported("hidden_act", fmt::format("\"{}\"", base::printable(activation)), "silu");
  }
  if (const base::Json* quantisation = config.find("quantization_config")) {
    const base::Json* method = quantisation->find("quant_method");
    config.unsupported("quantization_config",
                       method == nullptr ? quantisation->describe() : method->describe(),
                       "checkpoints in F32, F16 or BF16");
  }
}

void read_sizes(const Fields& config, ModelConfig& out) {
  out.vocabulary = config.integer("vocab_size", 1, kMaxVocabulary);
  out.hidden = config.integer("hidden_size", 1, kMaxHidden);
  out.intermediate = config.integer("intermediate_size", 1, kMaxIntermediate);
  out.layers = static_cast<int>(config.integer("num_hidden_layers", 1, kMaxLayers));
  out.max_positions = config.integer("max_position_embeddings", 1, kMaxPositions);
  out.norm_epsilon = static_cast<float>(config.number("rms_norm_eps", 0, 1));
  // 1e-40 is above 0 as a double but vanishes in the kernels' arithmetic.
  if (!std::isnormal(out.norm_epsilon)) {
    config.refuse("rms_norm_eps", config.require("rms_norm_eps").describe(),
                  "a normal float32 above 0");
  }
}

int read_kv_heads(const Fields& config, const Architecture& architecture, int heads) {
  constexpr std::string_view kKey = "num_key_value_heads";
  const int64_t found = architecture.early_configs ? config.integer_or(kKey, 1, heads, heads)
                                                   : config.integer(kKey, 1, heads);
  if (heads % found != 0) {
    config.refuse(kKey, fmt::format("{}", found), fmt::format("a divisor of the {} heads", heads));
  }
  return static_cast<int>(found);
}

int read_head_dim(const Fields& config, int64_t hidden, int heads) {
  if (config.find("head_dim") == nullptr && hidden % heads != 0) {
    config.refuse("hidden_size", fmt::format("{}", hidden),
                  fmt::format("a multiple of the {} heads when there is no head_dim", heads));
  }
  const int64_t found = config.integer_or("head_dim", 2, kMaxHeadDim, hidden / heads);
  if (found < 2 || found > kMaxHeadDim || found % 2 != 0) {
    config.refuse("head_dim", fmt::format("{}", found),
                  fmt::format("an even number from 2 to {}", kMaxHeadDim));
  }
  return static_cast<int>(found);
}

int read_rotary_dims(const Fields& config, const Architecture& architecture, int head_dim) {
  constexpr std::string_view kKey = "partial_rotary_factor";
  const double share = config.number_or(kKey, 0, 1, 1);
  if (share != 1 && !architecture.partial_rotary) {
    config.unsupported(kKey, fmt::format("{}", share), fmt::format("1 for {}", architecture.name));
  }
  const int dims = static_cast<int>(head_dim * share);
  if (dims < 2 || dims % 2 != 0) {
    config.refuse(kKey, fmt::format("{} ({} of {} dimensions)", share, dims, head_dim),
                  "a share that makes an even number of at least 2 dimensions");
  }
  return dims;
}

void read_attention(const Fields& config, const Architecture& architecture, ModelConfig& out) {
  kernels::AttentionShape& shape = out.attention;
  shape.heads = static_cast<int>(config.integer("num_attention_heads", 1, kMaxHeads));
  shape.kv_heads = read_kv_heads(config, architecture, shape.heads);
  shape.head_dim = read_head_dim(config, out.hidden, shape.heads);
  shape.rotary_dims = read_rotary_dims(config, architecture, shape.head_dim);
  shape.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.head_dim)));
}

// Newer configs list the kind of every layer; only the one that needs no further rule is taken.
void refuse_layer_types(const Fields& config) {
  const base::Json* types = config.find("layer_types");
  if (types == nullptr) return;
  for (const base::Json& type : types->as_array(config.where("layer_types"))) {
    const std::string_view name = type.as_string(config.where("layer_types"));
    if (name != "full_attention") {
      config.unsupported("layer_types", fmt::format("\"{}\"", base::printable(name)),
                         "full_attention");
    }
  }
}

// The window of every layer, 0 when a token sees everything.
int read_window(const Fields& config, const Architecture& architecture, int64_t max_positions) {
  refuse_layer_types(config);
  constexpr std::string_view kKey = "sliding_window";
  const bool wanted =
      architecture.window != WindowRule::kUseFlag || config.flag("use_sliding_window");
  if (!wanted || config.find(kKey) == nullptr) return 0;
  const int64_t window = config.integer(kKey, 1, kMaxPositions);
  if (window >= max_positions) return 0;
  if (architecture.window != WindowRule::kSlidingWindow) {
    // Qwen: which layers it holds for is read differently by different programs.
    config.unsupported(kKey, fmt::format("{} in use", window),
                       fmt::format("none below the context for {}", architecture.name));
  }
  return static_cast<int>(window);
}

void read_stop_ids(const Fields& config, int64_t vocabulary, std::vector<int32_t>& out) {
  constexpr std::string_view kKey = "eos_token_id";
  const base::Json* ids = config.find(kKey);
  if (ids == nullptr) return;
  const auto add = [&](const base::Json& id) {
    const auto value = static_cast<int32_t>(id.as_integer(config.where(kKey), 0, vocabulary - 1));
    if (std::find(out.begin(), out.end(), value) == out.end()) out.push_back(value);
  };
  if (!ids->is_array()) return add(*ids);
  constexpr size_t kMaxStops = 256;
  if (ids->as_array(kKey).size() > kMaxStops) {
    config.refuse(kKey, ids->describe(), fmt::format("at most {} ids", kMaxStops));
  }
  for (const base::Json& id : ids->as_array(kKey)) add(id);
}

std::string generation_file(std::string_view file) {
  constexpr std::string_view kConfig = "config.json";
  if (!file.ends_with(kConfig)) return fmt::format("{}: generation config", file);
  return fmt::format("{}generation_config.json", file.substr(0, file.size() - kConfig.size()));
}

void read_generation_config(std::string_view text, std::string_view file, ModelConfig& out) {
  if (text.empty()) return;
  const std::string name = generation_file(file);
  const base::JsonDocument document(text, name);
  document.root().as_object(name);
  read_stop_ids(Fields(document.root(), name), out.vocabulary, out.stop_ids);
}

void set_rope(RopeTables tables, ModelConfig& out) {
  out.rope = std::move(tables.rope);
  out.long_rope = std::move(tables.long_rope);
  out.long_from = tables.long_from;
}

void set_flags(const Fields& config, const Architecture& architecture, ModelConfig& out) {
  out.architecture = architecture.name;
  out.fused_qkv = architecture.fused_qkv;
  out.fused_gate_up = architecture.fused_gate_up;
  out.qkv_bias = architecture.qkv_bias;
  out.qk_norm = architecture.qk_norm;
  // All families here keep the head apart unless the config says otherwise; a checkpoint without a
  // head is found out when its tensors are looked up.
  out.tied_head = config.flag("tie_word_embeddings");
}

}  // namespace

ModelConfig parse_config(std::string_view config_json, std::string_view generation_config_json,
                         std::string_view file) {
  const base::JsonDocument document(config_json, file);
  document.root().as_object(file);
  const Fields config(document.root(), file);
  const Architecture& architecture = read_architecture(config);
  refuse_options(config);
  ModelConfig out;
  set_flags(config, architecture, out);
  read_sizes(config, out);
  read_attention(config, architecture, out);
  out.windows.assign(static_cast<size_t>(out.layers),
                     read_window(config, architecture, out.max_positions));
  set_rope(read_rope(config, architecture, out.attention.rotary_dims, out.max_positions), out);
  read_stop_ids(config, out.vocabulary, out.stop_ids);
  read_generation_config(generation_config_json, file, out);
  return out;
}

}  // namespace upg::model
