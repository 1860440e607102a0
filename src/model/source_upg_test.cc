// UPG files as models: a tiny checkpoint stored in every codec, in both versions, and files whose
// records and tensors do not belong together.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "base/file.h"
#include "codec/codec.h"
#include "codec/rotation.h"
#include "format/upg_file.h"
#include "model/model_files.h"
#include "model/step_runner.h"
#include "upg/error.h"

namespace upg::model {
namespace {

namespace fs = std::filesystem;

const fs::path kVariant =
    fs::path(UPG_SOURCE_DIR) / "tests/golden/model_variants/qwen2";  // biases, separate projections

struct StoredTensor {
  std::string name;
  base::DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

// A UPG file in memory, open to change before it is written.
struct UpgImage {
  format::UpgInfo info;
  std::vector<StoredTensor> tensors;

  StoredTensor& tensor(std::string_view name) {
    for (StoredTensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    throw std::runtime_error("no such tensor");
  }
  format::MatrixRecord& matrix(std::string_view name) {
    for (format::MatrixRecord& record : info.matrices) {
      if (record.name == name) return record;
    }
    throw std::runtime_error("no such matrix");
  }

  void write(const fs::path& path) const {
    std::vector<std::string> names;
    for (const StoredTensor& tensor : tensors) names.push_back(tensor.name);
    format::UpgWriter writer(path, format::estimate_header(info, names), info.version);
    for (const StoredTensor& tensor : tensors) {
      const bool codes = tensor.name.ends_with(".codes") || tensor.name.ends_with(".masks");
      if (codes) {
        writer.add_codes(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
      } else {
        writer.add_small(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
      }
    }
    writer.finish(info);
  }
};

// Which codec stores a tensor.
using Choice = std::function<std::string_view(const TensorSpec&)>;

class Packer {
 public:
  Packer(const ModelSource& source, const Choice& choice, bool version2)
      : source_(source), choice_(choice), version2_(version2) {
    image_.info.version = version2 ? "2.0" : "3.0";
    image_.info.profile = "test";
    image_.info.config = source.config_text();
  }

  UpgImage pack() {
    for (const TensorSpec& spec : source_.specs()) {
      if (spec.role == Role::kVector) {
        add(spec.name, base::DType::kF32, {spec.rows}, source_.vector(spec));
      } else {
        pack_matrix(spec);
      }
    }
    return std::move(image_);
  }

 private:
  template <class T>
  void add(const std::string& name, base::DType dtype, std::vector<int64_t> shape,
           const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    image_.tensors.push_back({name, dtype, std::move(shape), {bytes.begin(), bytes.end()}});
  }

  // The weights as the codec takes them: rotated where that is wanted.
  std::vector<float> rows_of(const TensorSpec& spec, int64_t stored_cols, const uint8_t* signs) {
    std::vector<float> plain(static_cast<size_t>(spec.rows * spec.cols));
    codec::decode_rows(source_.matrix(spec), 0, spec.rows, plain.data());
    if (signs == nullptr) return plain;
    std::vector<float> rows(static_cast<size_t>(spec.rows * stored_cols));
    for (int64_t r = 0; r < spec.rows; ++r) {
      std::copy_n(&plain[static_cast<size_t>(r * spec.cols)], spec.cols,
                  &rows[static_cast<size_t>(r * stored_cols)]);
    }
    codec::rotate(rows.data(), spec.rows, stored_cols, signs);
    return rows;
  }

  void pack_matrix(const TensorSpec& spec) {
    const codec::Codec& codec = *codec::find_codec(choice_(spec));
    const bool rotated = codec.rotates && spec.role == Role::kMatrix;
    format::MatrixRecord record;
    record.name = spec.name;
    record.codec = codec.name;
    record.codec_version = codec.version;
    record.rows = spec.rows;
    record.cols = spec.cols;
    record.stem =
        version2_ && codec.name == "mdcsr" ? fmt::format("layer_{}", matrices_++) : spec.name;
    record.source_dtype = "BF16";
    std::vector<uint8_t> signs;
    if (rotated) {
      record.signs = spec.activation + ".signs";
      signs = codec::make_signs(spec.activation, spec.cols);
      const bool added = signs_.insert(record.signs).second;
      if (added) {
        add(record.signs, base::DType::kU8, {static_cast<int64_t>(signs.size())}, signs);
      }
    }
    const int64_t stored_cols = rotated ? codec::padded_cols(spec.cols) : spec.cols;
    codec::EncodeOptions options;
    options.sparsity = 0;
    const auto encoder = codec.encoder(spec.rows, spec.cols, stored_cols, options);
    const std::vector<float> rows = rows_of(spec, stored_cols, rotated ? signs.data() : nullptr);
    encoder->train(rows.data(), spec.rows);
    encoder->encode(0, spec.rows, rows.data());
    for (codec::Part& part : encoder->finish()) {
      const char* separator = part.spec.suffix.empty() ? "" : version2_ ? "_" : ".";
      image_.tensors.push_back({record.stem + separator + part.spec.suffix, part.spec.dtype,
                                part.spec.shape, std::move(part.bytes)});
    }
    image_.info.matrices.push_back(std::move(record));
  }

  const ModelSource& source_;
  const Choice& choice_;
  bool version2_;
  int matrices_ = 0;
  std::set<std::string> signs_;
  UpgImage image_;
};

class UpgSources : public testing::Test {
 protected:
  UpgImage pack(const Choice& choice, bool version2 = false) {
    return Packer(*checkpoint_, choice, version2).pack();
  }

  std::shared_ptr<const ModelSource> written(const UpgImage& image) {
    image.write(path_);
    return ModelSource::open(path_);
  }

  std::vector<float> logits_of(std::shared_ptr<const ModelSource> source,
                               kernels::Activations activations = kernels::Activations::kInt8) {
    kernels::BackendOptions options;
    options.device = "reference";
    options.threads = 1;
    options.activations = activations;
    return logits_of(std::move(source), options, 32);
  }

  // step: tokens at a time.
  std::vector<float> logits_of(std::shared_ptr<const ModelSource> source,
                               const kernels::BackendOptions& options, int step) {
    const auto backend = kernels::create_backend(options);
    StepRunner runner(std::move(source), *backend, 32, kernels::KvType::kF32);
    const std::vector<int32_t> ids = {5, 70, 33, 12, 9, 41, 8, 60, 3};
    return runner.run(ids, static_cast<size_t>(step), 32);
  }

  // A checkpoint of the weights that a file stands for, in F32.
  std::shared_ptr<const ModelSource> decoded(const ModelSource& source) {
    TinyCheckpoint checkpoint;
    checkpoint.config = source.config_text();
    checkpoint.tensors.clear();
    for (const TensorSpec& spec : source.specs()) {
      if (spec.role == Role::kVector) {
        checkpoint.tensors.push_back(
            {spec.name, {spec.rows}, base::DType::kF32, source.vector(spec)});
        continue;
      }
      std::vector<float> rows(static_cast<size_t>(spec.rows * spec.cols));
      codec::decode_rows(source.matrix(spec), 0, spec.rows, rows.data());
      checkpoint.tensors.push_back(
          {spec.name, {spec.rows, spec.cols}, base::DType::kF32, std::move(rows)});
    }
    checkpoint.write(folder_.path());
    return ModelSource::open(folder_.path());
  }

  Error error_after(UpgImage image, const std::function<void(UpgImage&)>& change) {
    change(image);
    image.write(path_);
    try {
      ModelSource::open(path_);
    } catch (const Error& error) {
      EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos);
      return error;
    }
    return Error(ErrorCode::kIo, "no error");
  }

  void expect_error(const std::function<void(UpgImage&)>& change, ErrorCode code,
                    std::string_view part) {
    const Error error = error_after(pack(kLayersPath4), change);
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
  }

  static std::string_view kLayersPath4(const TensorSpec& spec) {
    return spec.role == Role::kMatrix ? "path4" : "raw";
  }

  TestFolder folder_;
  fs::path path_ = folder_.path() / "a.upg";
  std::shared_ptr<const ModelSource> checkpoint_ = ModelSource::open(kVariant);
  const std::string gate_ = "model.layers.0.mlp.gate_proj.weight";
};

TEST_F(UpgSources, RawIsTheCheckpoint) {
  const auto source = written(pack([](const TensorSpec&) { return "raw"; }));
  EXPECT_EQ(source->profile(), "test");
  EXPECT_EQ(source->config_text(), checkpoint_->config_text());
  EXPECT_EQ(source->file_bytes(), fs::file_size(path_));
  for (const TensorSpec& spec : source->specs()) {
    const bool vector = spec.role == Role::kVector;
    EXPECT_EQ(source->stored_bytes(spec), checkpoint_->stored_bytes(spec) * (vector ? 2 : 1));
  }
  EXPECT_EQ(logits_of(source), logits_of(checkpoint_));
}

// The file's logits against those of a float checkpoint that holds its decoded weights: the same
// but for rounding with float activations, close with quantised ones.
TEST_F(UpgSources, EveryCodecRunsAsItDecodes) {
  for (const char* codec : {"path2", "path3", "path4", "int8", "sparse", "mdcsr"}) {
    const auto source = written(pack([&](const TensorSpec&) { return codec; }));
    EXPECT_EQ(source->codec_name(source->specs()[0]), codec);
    const std::vector<float> want = logits_of(decoded(*source));
    EXPECT_LT(relative_error(logits_of(source, kernels::Activations::kF32), want), 1e-4) << codec;
    EXPECT_LT(relative_error(logits_of(source), want), 0.1) << codec;
  }
}

// A token at a time, all of it in one kernel: the CPU's logits but for activations that are rounded
// the other way.
TEST_F(UpgSources, EveryCodecRunsOnADevice) {
  const auto rows = kernels::all_backends();
  const bool there = std::any_of(rows.begin(), rows.end(), [](const kernels::BackendRow& row) {
    return row.name == std::string_view("cuda") && row.supported();
  });
  if (!there) GTEST_SKIP() << "no CUDA device";
  kernels::BackendOptions options;
  options.device = "cuda";
  options.fusion = kernels::Fusion::kToken;
  for (const char* codec : {"path2", "path3", "path4", "sparse"}) {
    const auto source = written(pack([&](const TensorSpec&) { return codec; }));
    EXPECT_LT(relative_error(logits_of(source, options, 1), logits_of(source)), 0.03) << codec;
  }
}

TEST_F(UpgSources, CodecsMayDifferWithinALinear) {
  const auto source = written(pack([](const TensorSpec& spec) -> std::string_view {
    if (spec.name.ends_with("q_proj.weight")) return "int8";
    return spec.name.ends_with("v_proj.weight") ? "path4" : "raw";
  }));
  const std::vector<float> want = logits_of(decoded(*source));
  EXPECT_LT(relative_error(logits_of(source, kernels::Activations::kF32), want), 1e-4);
}

TEST_F(UpgSources, Version2OfOurOwnRuns) {
  const Choice choice = [](const TensorSpec& spec) {
    return spec.role == Role::kMatrix ? "mdcsr" : "raw";
  };
  const auto source = written(pack(choice, true));
  EXPECT_LT(relative_error(logits_of(source), logits_of(checkpoint_)), 0.05);
}

TEST_F(UpgSources, Version2OfOthersSaysWhatWorks) {
  const Choice choice = [](const TensorSpec&) { return "mdcsr"; };
  const Error error =
      error_after(pack(choice, true), [](UpgImage& image) { image.info.config.clear(); });
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported) << error.what();
  EXPECT_NE(std::string(error.what()).find("inspect, verify and decompress work"),
            std::string::npos);
}

TEST_F(UpgSources, RecordsThatDoNotFit) {
  const std::string gate = gate_;
  expect_error([&](UpgImage& i) { i.matrix(gate).rows = 32; }, ErrorCode::kInvalidData,
               "allowed is [56, 64] (MISMATCH)");
  expect_error([&](UpgImage& i) { i.matrix(gate).codec = "path9"; }, ErrorCode::kUnsupported,
               "codec path9");
  expect_error([&](UpgImage& i) { i.matrix(gate).codec_version = 7; }, ErrorCode::kUnsupported,
               "version 7");
  expect_error([&](UpgImage& i) { i.matrix(gate).codec = "path3"; }, ErrorCode::kInvalidData, gate);
  expect_error([&](UpgImage& i) { i.matrix("lm_head.weight").name = "other"; },
               ErrorCode::kInvalidData, "no tensor \"lm_head.weight\"");
  expect_error(
      [&](UpgImage& i) {
        std::erase_if(i.info.matrices, [&](const auto& m) { return m.name == gate; });
      },
      ErrorCode::kInvalidData, gate);
  expect_error(
      [&](UpgImage& i) {
        std::erase_if(i.tensors, [&](const auto& t) { return t.name == gate + ".scale"; });
      },
      ErrorCode::kInvalidData, "gate_proj.weight.scale");
}

TEST_F(UpgSources, MatricesWithoutAPlace) {
  const Choice choice = kLayersPath4;
  const Error error = error_after(pack(choice), [&](UpgImage& image) {
    format::MatrixRecord record = image.matrix("lm_head.weight");
    record.name = "model.layers.9.mlp.up_proj.weight";
    image.info.matrices.push_back(record);
  });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidData);
  EXPECT_NE(std::string(error.what()).find("model.layers.9"), std::string::npos) << error.what();
}

TEST_F(UpgSources, RotationsWhereThereAreNone) {
  const std::string signs = "model.layers.0.mlp.input.signs";
  expect_error([&](UpgImage& i) { i.matrix("lm_head.weight").signs = signs; },
               ErrorCode::kInvalidData, "lm_head.weight");
  expect_error([&](UpgImage& i) { i.matrix("model.embed_tokens.weight").signs = signs; },
               ErrorCode::kInvalidData, "model.embed_tokens.weight");
  expect_error([&](UpgImage& i) { i.matrix(gate_).signs = "none"; }, ErrorCode::kInvalidData,
               "none");
  expect_error([&](UpgImage& i) { i.tensor(signs).dtype = base::DType::kI8; },
               ErrorCode::kInvalidData, "I8");
  expect_error(
      [&](UpgImage& i) {
        i.tensor(signs).shape = {15};
        i.tensor(signs).bytes.resize(15);
      },
      ErrorCode::kInvalidData, "[15]");
}

TEST_F(UpgSources, VectorsThatDoNotFit) {
  const std::string norm = "model.norm.weight";
  expect_error(
      [&](UpgImage& i) { std::erase_if(i.tensors, [&](const auto& t) { return t.name == norm; }); },
      ErrorCode::kInvalidData, norm);
  expect_error([&](UpgImage& i) { i.tensor(norm).dtype = base::DType::kI32; },
               ErrorCode::kInvalidData, "found I32");
  expect_error(
      [&](UpgImage& i) {
        i.tensor(norm).shape = {8, 8};
      },
      ErrorCode::kInvalidData, "found [8, 8], allowed is [64]");
}

}  // namespace
}  // namespace upg::model
