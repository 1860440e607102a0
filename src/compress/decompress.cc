// A UPG file back to a Hugging Face checkpoint with dense weights.
#include "compress/decompress.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/file.h"
#include "base/float16.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/text.h"
#include "base/threads.h"
#include "compress/atomic_folder.h"
#include "compress/chunk_loop.h"
#include "compress/meter.h"
#include "compress/source_model.h"
#include "compress/stored_model.h"
#include "format/safetensors.h"
#include "kernels/dense.h"

namespace upg::compression {
namespace {

using base::DType;
using nlohmann::ordered_json;

constexpr int64_t kChunkElements = int64_t{1} << 19;  // decoded at once by a thread

struct DTypeName {
  std::string_view option;
  std::string_view torch;
  DType dtype;
};
constexpr std::array kDTypes = {DTypeName{"bf16", "bfloat16", DType::kBF16},
                                DTypeName{"f16", "float16", DType::kF16},
                                DTypeName{"f32", "float32", DType::kF32}};

const DTypeName* parse_option(std::string_view option) {
  if (option.empty()) return nullptr;
  for (const DTypeName& row : kDTypes) {
    if (row.option == option) return &row;
  }
  throw Error(ErrorCode::kUsage, fmt::format("dtype \"{}\" is unknown, allowed are bf16, f16, f32",
                                             base::printable(option)));
}

// One tensor of the checkpoint to be.
struct OutTensor {
  const StoredTensor* stored;
  DType dtype;
  std::vector<int64_t> shape;
  uint64_t bytes;
};

struct Shard {
  std::string name;
  std::vector<OutTensor> tensors;
  uint64_t bytes = 0;
};

OutTensor out_tensor(const StoredTensor& tensor, DType dtype) {
  OutTensor out{.stored = &tensor, .dtype = dtype, .shape = {tensor.rows}, .bytes = 0};
  if (tensor.record != nullptr) out.shape.push_back(tensor.cols);
  out.bytes = base::checked_mul(tensor.elements(), static_cast<uint64_t>(base::size_of(dtype)),
                                "the dense tensor's bytes");
  return out;
}

// In order of names, as checkpoints usually are; a shard closes before it would grow too large.
std::vector<Shard> plan_shards(const StoredModel& model, const DTypeName* dtype,
                               uint64_t shard_bytes) {
  std::vector<OutTensor> tensors;
  for (const StoredTensor& tensor : model.tensors()) {
    tensors.push_back(out_tensor(tensor, dtype ? dtype->dtype : model.source_dtype(tensor)));
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const OutTensor& a, const OutTensor& b) { return a.stored->name < b.stored->name; });
  std::vector<Shard> shards(1);
  for (OutTensor& tensor : tensors) {
    if (!shards.back().tensors.empty() && shards.back().bytes + tensor.bytes > shard_bytes) {
      shards.emplace_back();
    }
    shards.back().bytes += tensor.bytes;
    shards.back().tensors.push_back(std::move(tensor));
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].name = shards.size() == 1
                         ? "model.safetensors"
                         : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  }
  return shards;
}

void check_needs(const std::vector<Shard>& shards, const std::filesystem::path& folder) {
  uint64_t total = 0;
  uint64_t largest = 0;
  for (const Shard& shard : shards) {
    total += shard.bytes;
    for (const OutTensor& tensor : shard.tensors) largest = std::max(largest, tensor.bytes);
  }
  std::error_code error;
  const auto space = std::filesystem::space(folder, error);
  if (!error && space.available < total) {
    throw Error(ErrorCode::kIo,
                fmt::format("{}: needs {} of disk space, found {} free (IO)",
                            base::printable(folder.native()), base::format_bytes(total),
                            base::format_bytes(space.available)));
  }
  if (base::available_memory() < largest) {
    throw Error(
        ErrorCode::kOutOfMemory,
        fmt::format("the largest tensor needs {} of memory, found {} available",
                    base::format_bytes(largest), base::format_bytes(base::available_memory())));
  }
}

// Stores values in an element type. False where a finite value is too large for it.
bool convert(const float* values, int64_t count, DType dtype, std::byte* out) {
  if (dtype == DType::kF32) {
    std::memcpy(out, values, static_cast<size_t>(count) * sizeof(float));
    return true;
  }
  const bool half = dtype == DType::kF16;
  bool fits = true;
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t bits = half ? base::float_to_f16(values[i]) : base::float_to_bf16(values[i]);
    std::memcpy(out + 2 * i, &bits, 2);
    const float back = half ? base::f16_to_float(bits) : base::bf16_to_float(bits);
    fits &= std::isfinite(back) || !std::isfinite(values[i]);
  }
  return fits;
}

class Writer {
 public:
  Writer(const StoredModel& model, const std::filesystem::path& folder, int threads, Meter& meter)
      : model_(model), folder_(folder), team_(threads), meter_(meter) {}

  void write_shard(const Shard& shard) {
    uint64_t names = 4096;
    for (const OutTensor& tensor : shard.tensors) {
      names += 128 + 24 * tensor.shape.size() + 6 * tensor.stored->name.size();
    }
    format::SafetensorsWriter writer(folder_ / shard.name, names);
    writer.reserve(shard.bytes);
    for (const OutTensor& tensor : shard.tensors) {
      meter_.begin(tensor.stored->name);
      const std::vector<std::byte> bytes = dense(tensor);
      writer.append(tensor.stored->name, tensor.dtype, tensor.shape, bytes);
      model_.release(*tensor.stored);
      meter_.end(tensor.stored->elements(), tensor.bytes, 0);
    }
    writer.finish(writer.header({{"format", "pt"}}));
  }

 private:
  std::vector<std::byte> dense(const OutTensor& tensor) {
    std::vector<std::byte> bytes(tensor.bytes);
    if (tensor.stored->record == nullptr) {
      std::vector<float> values(static_cast<size_t>(tensor.stored->rows));
      base::to_float(*tensor.stored->vector, 0, tensor.stored->rows, values.data());
      check_fits(convert(values.data(), tensor.stored->rows, tensor.dtype, bytes.data()), tensor);
      return bytes;
    }
    const codec::Matrix matrix = model_.bind(*tensor.stored);
    check_fits(decode(matrix, tensor, bytes.data()), tensor);
    return bytes;
  }

  bool decode(const codec::Matrix& matrix, const OutTensor& tensor, std::byte* out) {
    const int64_t step = std::max<int64_t>(1, kChunkElements / matrix.cols);
    const Tick tick = [this](uint64_t elements) { meter_.tick(elements); };
    Buffers buffers(team_, step * matrix.cols);
    std::atomic<bool> fits{true};
    ChunkLoop loop(matrix.rows, matrix.cols, step, 0, tick);
    loop.run(team_, [&](int64_t, int64_t first, int64_t count, int thread) {
      float* rows = buffers.of(thread);
      kernels::decode_rows(matrix, first, count, rows);
      const auto offset = static_cast<size_t>(first * matrix.cols) * base::size_of(tensor.dtype);
      if (!convert(rows, count * matrix.cols, tensor.dtype, out + offset)) fits = false;
    });
    return fits;
  }

  void check_fits(bool fits, const OutTensor& tensor) const {
    if (fits) return;
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{}: tensor \"{}\": a weight is larger than {} can hold, allowed is "
                            "another --dtype (VALUE)",
                            model_.name(), base::printable(tensor.stored->name),
                            base::name_of(tensor.dtype)));
  }

  const StoredModel& model_;
  const std::filesystem::path& folder_;
  base::ThreadTeam team_;
  Meter& meter_;
};

void write_text(const std::filesystem::path& path, std::string_view text) {
  if (text.empty()) return;
  base::AtomicFile file(path);
  file.write_at(0, std::as_bytes(std::span(text)));
  file.commit();
}

// config.json with the element type that is written; unchanged when that is the source's own.
std::string config_text(const StoredModel& model, const DTypeName* dtype) {
  const std::string& text = model.file().info().config;
  if (text.empty() || dtype == nullptr) return text;
  const base::JsonDocument checked(text, fmt::format("{}: config", model.name()));
  ordered_json config = ordered_json::parse(text);  // depth and grammar have been checked
  const bool modern = config.contains("dtype") && !config.contains("torch_dtype");
  ordered_json& value = config[modern ? "dtype" : "torch_dtype"];
  if (value == dtype->torch) return text;
  value = dtype->torch;
  return config.dump(2) + "\n";
}

bool has_own_template(std::string_view tokenizer_config) {
  if (tokenizer_config.empty()) return false;
  const base::JsonDocument document(tokenizer_config, "tokenizer_config.json");
  return document.root().find("chat_template") != nullptr;
}

void write_texts(const StoredModel& model, const std::filesystem::path& folder,
                 const DTypeName* dtype) {
  const format::UpgInfo& info = model.file().info();
  write_text(folder / "config.json", config_text(model, dtype));
  write_text(folder / "generation_config.json", info.generation_config);
  for (const std::string_view name : kTextTensors) {
    write_text(folder / name, model.file().text(name));
  }
  if (!has_own_template(model.file().text("tokenizer_config.json"))) {
    write_text(folder / "chat_template.jinja", info.chat_template);
  }
}

void write_index(const std::vector<Shard>& shards, const std::filesystem::path& folder) {
  if (shards.size() == 1) return;
  uint64_t total = 0;
  ordered_json files = ordered_json::object();
  for (const Shard& shard : shards) {
    total += shard.bytes;
    for (const OutTensor& tensor : shard.tensors) files[tensor.stored->name] = shard.name;
  }
  const ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", files}};
  write_text(folder / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace

void decompress_file(const std::filesystem::path& file, const std::filesystem::path& folder,
                     const DecompressOptions& options, const ProgressCallback& progress) {
  const DTypeName* type = parse_option(options.dtype);
  const StoredModel model(file, options.cols);
  const std::vector<Shard> shards = plan_shards(model, type, options.shard_bytes);
  AtomicFolder target(folder);
  check_needs(shards, target.path());
  uint64_t elements = 0;
  for (const StoredTensor& tensor : model.tensors()) elements += tensor.elements();
  Meter meter(progress, static_cast<int64_t>(model.tensors().size()), elements);
  const int threads = options.threads > 0 ? options.threads : base::default_threads();
  Writer writer(model, target.path(), threads, meter);
  for (const Shard& shard : shards) writer.write_shard(shard);
  write_texts(model, target.path(), type);
  write_index(shards, target.path());
  target.commit();
}

}  // namespace upg::compression

namespace upg {

void decompress(const std::filesystem::path& file, const std::filesystem::path& folder,
                std::string_view dtype, int threads, const ProgressCallback& progress,
                int64_t cols) {
  compression::DecompressOptions options;
  options.dtype = dtype;
  options.threads = threads;
  options.cols = cols;
  compression::decompress_file(file, folder, options, progress);
}

}  // namespace upg
