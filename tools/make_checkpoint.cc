// make_checkpoint: writes a random checkpoint of any size in the layout of microsoft/phi-4, for
// tests at full size (docs/full-size.md).
//
// Weights are bfloat16: a Gaussian mixture with heavy tails (one weight in twenty has three times
// the spread), times a scale per column, log-normal. Every value follows from the seed, the
// tensor's name, its row and its column, whatever the number of threads.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>

#include "base/file.h"
#include "base/float16.h"
#include "base/text.h"
#include "base/threads.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "model/tensors.h"
#include "tools/random_model.h"
#include "tools/shape_options.h"
#include "upg/error.h"

namespace {

using upg::model::Role;
using upg::model::TensorSpec;
using upg::tools::hash_name;
using upg::tools::mix;
using upg::tools::ModelShape;
using upg::tools::Random;

struct Options {
  std::string folder;
  std::string tokenizer;
  ModelShape shape;
  uint64_t seed = 1;
  uint64_t shard_bytes = 5'000'000'000;
  int threads = 0;
};

// 65,536 equally likely values of the mixture, with unit variance: a value is one look-up.
class Distribution {
 public:
  Distribution() {
    double squares = 0;
    for (size_t i = 0; i < values_.size(); ++i) {
      values_[i] = static_cast<float>(quantile((static_cast<double>(i) + 0.5) / 65536.0));
      squares += static_cast<double>(values_[i]) * values_[i];
    }
    const auto scale = static_cast<float>(1.0 / std::sqrt(squares / 65536.0));
    for (float& value : values_) value *= scale;
  }
  float operator[](uint16_t index) const { return values_[index]; }

 private:
  static double cumulative(double x) {
    const auto normal = [](double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); };
    return 0.95 * normal(x) + 0.05 * normal(x / 3.0);
  }
  static double quantile(double p) {
    double low = -20;
    double high = 20;
    for (int i = 0; i < 60; ++i) {
      const double middle = (low + high) / 2;
      (cumulative(middle) < p ? low : high) = middle;
    }
    return (low + high) / 2;
  }
  std::array<float, 65536> values_;
};

class Generator {
 public:
  explicit Generator(const Options& options)
      : seed_(options.seed),
        team_(options.threads > 0 ? options.threads : upg::base::default_threads()),
        distribution_(std::make_unique<Distribution>()) {}

  std::vector<uint16_t> make(const TensorSpec& spec) {
    const uint64_t seed = mix(seed_, hash_name(spec.name));
    std::vector<uint16_t> values(static_cast<size_t>(spec.rows * spec.cols));
    if (spec.role == Role::kVector) {
      for (int64_t i = 0; i < spec.rows; ++i) {
        values[static_cast<size_t>(i)] =
            upg::base::float_to_bf16(1.0f + 0.1f * one(mix(seed, static_cast<uint64_t>(i))));
      }
      return values;
    }
    const std::vector<float> scales = column_scales(spec, seed);
    team_.for_ranges(spec.rows, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        fill(Random{mix(seed, static_cast<uint64_t>(row) + 1)}, scales,
             values.data() + row * spec.cols);
      }
    });
    return values;
  }

 private:
  float one(uint64_t random) const { return (*distribution_)[static_cast<uint16_t>(random)]; }

  std::vector<float> column_scales(const TensorSpec& spec, uint64_t seed) const {
    const float spread = 0.7f / std::sqrt(static_cast<float>(spec.cols));
    std::vector<float> scales(static_cast<size_t>(spec.cols));
    for (size_t c = 0; c < scales.size(); ++c) {
      scales[c] = spread * std::exp(0.3f * one(mix(~seed, c)));
    }
    return scales;
  }

  void fill(Random random, const std::vector<float>& scales, uint16_t* out) const {
    for (size_t c = 0; c < scales.size(); c += 4) {
      const uint64_t bits = random.next();
      for (size_t k = 0; k < 4 && c + k < scales.size(); ++k) {
        out[c + k] = upg::base::float_to_bf16(one(bits >> (16 * k)) * scales[c + k]);
      }
    }
  }

  uint64_t seed_;
  upg::base::ThreadTeam team_;
  std::unique_ptr<Distribution> distribution_;
};

void write_text(const std::filesystem::path& path, std::string_view text) {
  upg::base::AtomicFile file(path);
  file.write_at(0, std::as_bytes(std::span(text)));
  file.commit();
}

std::vector<int64_t> shape_of(const TensorSpec& spec) {
  if (spec.role == Role::kVector) return {spec.rows};
  return {spec.rows, spec.cols};
}

uint64_t bytes_of(const TensorSpec& spec) {
  return 2 * static_cast<uint64_t>(spec.rows) * static_cast<uint64_t>(spec.cols);
}

std::vector<std::vector<TensorSpec>> split(const std::vector<TensorSpec>& specs, uint64_t limit) {
  std::vector<std::vector<TensorSpec>> shards(1);
  uint64_t bytes = 0;
  for (const TensorSpec& spec : specs) {
    if (!shards.back().empty() && bytes + bytes_of(spec) > limit) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += bytes_of(spec);
    shards.back().push_back(spec);
  }
  return shards;
}

void write_weights(const Options& options, const std::vector<TensorSpec>& specs) {
  const std::filesystem::path folder = options.folder;
  Generator generator(options);
  const auto shards = split(specs, options.shard_bytes);
  std::string map;
  uint64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        shards.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    upg::format::SafetensorsWriter writer(folder / name, 4096 + 256 * shards[i].size());
    for (const TensorSpec& spec : shards[i]) {
      const std::vector<uint16_t> values = generator.make(spec);
      writer.append(spec.name, upg::base::DType::kBF16, shape_of(spec),
                    std::as_bytes(std::span(values)));
      map += fmt::format("{}\n    \"{}\": \"{}\"", map.empty() ? "" : ",", spec.name, name);
      total += bytes_of(spec);
    }
    writer.finish(writer.header({{"format", "pt"}}));
    fmt::print(stderr, "{}: {} so far\n", name, upg::base::format_bytes(total));
  }
  if (shards.size() == 1) return;
  write_text(folder / "model.safetensors.index.json",
             fmt::format("{{\n  \"metadata\": {{\"total_size\": {}}},\n  \"weight_map\": {{{}\n  "
                         "}}\n}}\n",
                         total, map));
}

void run(const Options& options) {
  const std::filesystem::path folder = options.folder;
  const std::string config = config_text(options.shape);
  const auto specs = upg::model::tensor_specs(upg::model::parse_config(config, "", "config.json"));
  std::filesystem::create_directories(folder);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    const std::filesystem::path source = std::filesystem::path(options.tokenizer) / name;
    if (!options.tokenizer.empty()) {
      std::filesystem::copy_file(source, folder / name,
                                 std::filesystem::copy_options::overwrite_existing);
    }
  }
  write_weights(options, specs);
  write_text(folder / "config.json", config);
  fmt::print("{}: {} parameters\n", options.folder, upg::model::parameter_count(specs));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Writes a random checkpoint in the layout of microsoft/phi-4; its shapes by default.");
  app.add_option("FOLDER", options.folder, "Where to write")->required();
  app.add_option("--tokenizer", options.tokenizer, "A checkpoint whose tokenizer to copy");
  upg::tools::add_shape_options(app, options.shape);
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--shard-bytes", options.shard_bytes)->capture_default_str();
  app.add_option("-t,--threads", options.threads)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "make_checkpoint: {}\n", error.what());
    return 1;
  }
  return 0;
}
