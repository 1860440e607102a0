// make_random_upg: a UPG file of any size with random codes, in seconds, for benchmarks of speed
// and start: no checkpoint is needed. The layout of microsoft/phi-4, its shapes by default.
//
//   build/release/bench/make_random_upg phi4.upg --layers 40 --tokenizer models/books-12m
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>

#include "base/check.h"
#include "base/file.h"
#include "codec/rotation.h"
#include "format/upg_file.h"
#include "model/config.h"
#include "model/tensors.h"
#include "random_matrix.h"
#include "tools/random_model.h"
#include "tools/shape_options.h"
#include "upg/error.h"

namespace {

using namespace upg;  // NOLINT(google-build-using-namespace)
namespace fs = std::filesystem;
using model::Role;
using model::TensorSpec;

constexpr size_t kLargestText = size_t{256} << 20;

struct Options {
  std::string target;
  std::string tokenizer;
  tools::ModelShape shape;
};

// Layers at 3.11 bits, as a plan for ten to one comes out; embedding and head at 4.
const codec::Codec& codec_of(const TensorSpec& spec) {
  const bool fine = spec.role != Role::kMatrix || tools::hash_name(spec.name) % 9 == 0;
  const codec::Codec* codec = codec::find_codec(fine ? "path4" : "path3");
  UPG_CHECK(codec != nullptr);
  return *codec;
}

class Maker {
 public:
  explicit Maker(const Options& options)
      : options_(options), config_(tools::config_text(options.shape)) {
    specs_ = model::tensor_specs(model::parse_config(config_, "", "config.json"));
    info_.version = "3.0";
    info_.profile = "10x";
    info_.config = config_;
    info_.compression = "{}";
    for (const TensorSpec& spec : specs_) {
      if (spec.role != Role::kVector) info_.matrices.push_back(record_of(spec));
    }
  }

  uint64_t make() {
    std::vector<std::string> names;
    for (const TensorSpec& spec : specs_) {
      for (const char* suffix : {".codes", ".palette", ".scale"})
        names.push_back(spec.name + suffix);
    }
    format::UpgWriter writer(options_.target, format::estimate_header(info_, names));
    for (const TensorSpec& spec : specs_) add(writer, spec);
    for (const auto& [name, signs] : signs_) {
      const std::vector<int64_t> shape = {static_cast<int64_t>(signs.size())};
      writer.add_small(name, base::DType::kU8, shape, signs);
    }
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) add_text(writer, name);
    writer.finish(info_);
    return fs::file_size(options_.target);
  }

 private:
  format::MatrixRecord record_of(const TensorSpec& spec) {
    format::MatrixRecord record;
    record.name = record.stem = spec.name;
    record.codec = codec_of(spec).name;
    record.codec_version = codec_of(spec).version;
    record.rows = spec.rows;
    record.cols = spec.cols;
    record.source_dtype = "BF16";
    if (spec.role == Role::kMatrix) {
      record.signs = spec.activation + ".signs";
      const std::vector<uint8_t> signs = codec::make_signs(spec.activation, spec.cols);
      const auto bytes = std::as_bytes(std::span(signs));
      signs_.try_emplace(record.signs, bytes.begin(), bytes.end());
    }
    return record;
  }

  static void add(format::UpgWriter& writer, const TensorSpec& spec) {
    if (spec.role == Role::kVector) {
      const std::vector<float> ones(static_cast<size_t>(spec.rows), 1.0f);
      const auto bytes = std::as_bytes(std::span(ones));
      return writer.add_small(spec.name, base::DType::kF32, std::vector{spec.rows},
                              {bytes.begin(), bytes.end()});
    }
    for (codec::Part& part : bench::random_parts(codec_of(spec), spec.rows, spec.cols)) {
      const std::string name = spec.name + "." + part.spec.suffix;
      if (part.spec.suffix == "codes") {
        writer.add_codes(name, part.spec.dtype, part.spec.shape, part.bytes);
      } else {
        writer.add_small(name, part.spec.dtype, part.spec.shape, std::move(part.bytes));
      }
    }
  }

  void add_text(format::UpgWriter& writer, const std::string& name) const {
    const fs::path path = fs::path(options_.tokenizer) / name;
    if (options_.tokenizer.empty() || !fs::exists(path)) return;
    const std::string text = base::read_file(path, kLargestText);
    const auto bytes = std::as_bytes(std::span(text));
    writer.add_small(name, base::DType::kU8, std::vector{static_cast<int64_t>(text.size())},
                     {bytes.begin(), bytes.end()});
  }

  const Options& options_;
  std::string config_;
  std::vector<TensorSpec> specs_;
  format::UpgInfo info_;
  std::map<std::string, std::vector<std::byte>> signs_;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Writes a UPG file with random codes in the layout of microsoft/phi-4.");
  app.add_option("FILE", options.target, "Where to write")->required();
  app.add_option("--tokenizer", options.tokenizer, "A checkpoint whose tokenizer to copy");
  tools::add_shape_options(app, options.shape);
  CLI11_PARSE(app, argc, argv);
  try {
    const uint64_t bytes = Maker(options).make();
    fmt::print("{}: {} bytes\n", options.target, bytes);
  } catch (const Error& error) {
    fmt::print(stderr, "make_random_upg: {}\n", error.what());
    return 1;
  }
  return 0;
}
