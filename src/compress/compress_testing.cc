#include "compress/compress_testing.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <stdexcept>

#include "base/env.h"
#include "base/float16.h"
#include "base/json.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "tokenizer/byte_alphabet.h"

namespace upg::compression {
namespace {

using base::DType;

std::vector<std::byte> to_bytes(const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * base::size_of(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(bytes.data() + 4 * i, &values[i], 4);
      continue;
    }
    const uint16_t bits =
        dtype == DType::kF16 ? base::float_to_f16(values[i]) : base::float_to_bf16(values[i]);
    std::memcpy(bytes.data() + 2 * i, &bits, 2);
  }
  return bytes;
}

std::vector<float> random_values(const model::TensorSpec& spec) {
  std::mt19937_64 random(std::hash<std::string>{}(spec.name));
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> values(static_cast<size_t>(spec.rows * spec.cols));
  for (float& value : values) value = normal(random);
  return values;
}

// A token a byte, no merges.
std::string byte_tokenizer() {
  std::string vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    vocabulary += fmt::format("{}{}: {}", byte == 0 ? "" : ", ",
                              base::json_quote(tokenizer::to_byte_alphabet({&one, 1})), byte);
  }
  return fmt::format(
      R"({{"model": {{"type": "BPE", "vocab": {{{}}}, "merges": []}},
      "pre_tokenizer": {{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}},
      "decoder": {{"type": "ByteLevel"}}}})",
      vocabulary);
}

}  // namespace

CompressOptions uncalibrated() {
  CompressOptions options;
  options.calibrate = kNoCalibration;
  return options;
}

std::string tiny_text() {
  std::mt19937_64 random(5);
  std::string text;
  while (text.size() < 2048) {
    for (uint64_t i = 2 + random() % 7; i > 0; --i) text += static_cast<char>('a' + random() % 26);
    text += random() % 8 == 0 ? ".\n" : " ";
  }
  return text;
}

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "upg-test-XXXXXX").native();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> TempFolder::entries() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    names.push_back(entry.path().filename().native());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string TinyCheckpoint::config() const {
  return fmt::format(R"({{
 "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_act": "silu",
 "hidden_size": 160, "intermediate_size": 208, "num_hidden_layers": 2, "num_attention_heads": 5,
 "num_key_value_heads": 1, "vocab_size": 333, "max_position_embeddings": 128,
 "original_max_position_embeddings": 128, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
 "rope_scaling": null, "sliding_window": null, "tie_word_embeddings": {}, "bos_token_id": 0,
 "eos_token_id": 0, "torch_dtype": "bfloat16"
}})",
                     tied ? "true" : "false");
}

std::vector<model::TensorSpec> TinyCheckpoint::specs() const {
  return model::tensor_specs(model::parse_config(config(), "", "config.json"));
}

void TinyCheckpoint::write(const std::filesystem::path& folder) const {
  std::filesystem::create_directories(folder);
  write_bytes(folder / "config.json", config());
  write_bytes(folder / "tokenizer.json",
              tokenizer ? byte_tokenizer() : R"({"model": {"type": "BPE"}})");
  write_bytes(folder / "tokenizer_config.json", R"({"chat_template": "{{ messages }}"})");
  std::vector<std::unique_ptr<format::SafetensorsWriter>> writers;
  const auto file_name = [this](int shard) {
    return shards == 1 ? std::string("model.safetensors")
                       : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
  };
  for (int shard = 0; shard < shards; ++shard) {
    writers.push_back(
        std::make_unique<format::SafetensorsWriter>(folder / file_name(shard), 1 << 14));
  }
  std::string map;
  size_t next = 0;
  const auto append = [&](const std::string& name, DType dtype, const std::vector<int64_t>& shape,
                          const std::vector<float>& values) {
    const auto shard = static_cast<int>(next++ % writers.size());
    writers[static_cast<size_t>(shard)]->append(name, dtype, shape, to_bytes(values, dtype));
    map += fmt::format("{}\"{}\": \"{}\"", map.empty() ? "" : ", ", name, file_name(shard));
  };
  for (const model::TensorSpec& spec : specs()) {
    std::vector<float> values = random_values(spec);
    if (edit && !edit(spec, values)) continue;
    const bool vector = spec.role == model::Role::kVector;
    append(spec.name, vector ? vector_dtype : matrix_dtype,
           vector ? std::vector<int64_t>{spec.rows} : std::vector<int64_t>{spec.rows, spec.cols},
           values);
  }
  for (const auto& [name, rows] : extra) {
    append(name, DType::kF32, {rows}, std::vector<float>(static_cast<size_t>(rows)));
  }
  for (const auto& writer : writers) {
    writer->finish(writer->header(std::map<std::string, std::string, std::less<>>{}));
  }
  if (shards > 1) {
    write_bytes(folder / "model.safetensors.index.json",
                fmt::format("{{\"metadata\": {{}}, \"weight_map\": {{{}}}}}", map));
  }
}

std::optional<std::filesystem::path> sample_checkpoint(std::string_view name) {
  const std::filesystem::path root = UPG_SOURCE_DIR;
  const std::filesystem::path other = base::environment("UPG_TEST_MODELS").value_or("/nowhere");
  for (const auto& folder : {root / "models", other, root / ".." / "shared" / "models"}) {
    if (std::filesystem::exists(folder / name / "config.json")) return folder / name;
  }
  return std::nullopt;
}

std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace upg::compression
