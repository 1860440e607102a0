// For tests: a tiny checkpoint that can be changed in memory before it is written.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/float16.h"
#include "base/tensor_view.h"
#include "format/safetensors.h"
#include "model/tensors.h"

namespace upg::model {

// A folder of its own that goes with its owner.
class TestFolder {
 public:
  TestFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "upg-model-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_file(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
}

struct TinyTensor {
  std::string name;
  std::vector<int64_t> shape;
  base::DType dtype = base::DType::kBF16;
  std::vector<float> values;

  size_t count() const {
    int64_t product = 1;
    for (const int64_t size : shape) product *= size;
    return static_cast<size_t>(product);
  }
  // As stored. Types other than F16 and BF16 get the bits of a float.
  std::vector<std::byte> bytes() const {
    const size_t size = base::size_of(dtype);
    std::vector<std::byte> out(values.size() * size);
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t half = dtype == base::DType::kF16 ? base::float_to_f16(values[i])
                                                       : base::float_to_bf16(values[i]);
      if (size == 2) std::memcpy(&out[i * size], &half, 2);
      if (size == 4) std::memcpy(&out[i * size], &values[i], 4);
    }
    return out;
  }
  // The values after a round trip through the stored type.
  std::vector<float> rounded() const {
    const std::vector<std::byte> stored = bytes();
    std::vector<float> out(values.size());
    base::to_float({dtype, shape, stored}, 0, static_cast<int64_t>(out.size()), out.data());
    return out;
  }
};

// A Llama of one layer; every tensor there is, with values that repeat nowhere.
struct TinyCheckpoint {
  std::string config =
      R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 20, "hidden_size": 16,
 "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
 "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-05,
 "rope_theta": 10000.0, "hidden_act": "silu", "eos_token_id": 2})";
  std::vector<TinyTensor> tensors;

  TinyCheckpoint() {
    for (const TensorSpec& spec : tensor_specs(parse_config(config, "", "config.json"))) {
      if (spec.role == Role::kVector) {
        add(spec.name, {spec.rows});
      } else {
        add(spec.name, {spec.rows, spec.cols});
      }
    }
  }

  void add(std::string name, std::vector<int64_t> shape) {
    TinyTensor tensor{std::move(name), std::move(shape), base::DType::kBF16, {}};
    for (size_t i = 0; i < tensor.count(); ++i) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      tensor.values.push_back(static_cast<float>(static_cast<int32_t>(state_ >> 40)) / (1 << 23) -
                              1);
    }
    tensors.push_back(std::move(tensor));
  }

  TinyTensor& tensor(std::string_view name) {
    const auto at = std::find_if(tensors.begin(), tensors.end(),
                                 [&](const TinyTensor& tensor) { return tensor.name == name; });
    if (at == tensors.end()) throw std::runtime_error("no such tensor");
    return *at;
  }

  void remove(std::string_view name) {
    std::erase_if(tensors, [&](const TinyTensor& tensor) { return tensor.name == name; });
  }

  void write(const std::filesystem::path& folder) const {
    write_file(folder / "config.json", config);
    format::SafetensorsWriter writer(folder / "model.safetensors", 1 << 14);
    for (const TinyTensor& tensor : tensors) {
      writer.append(tensor.name, tensor.dtype, tensor.shape, tensor.bytes());
    }
    writer.finish(writer.header(std::map<std::string, std::string, std::less<>>{}));
  }

 private:
  uint64_t state_ = 1;
};

}  // namespace upg::model
