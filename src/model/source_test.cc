// Checkpoint folders that are wrong in every way a folder can be; each is a good one, changed.
#include "model/source.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/float16.h"
#include "codec/codec.h"
#include "model/model_files.h"
#include "upg/error.h"

namespace upg::model {
namespace {

namespace fs = std::filesystem;

class Sources : public testing::Test {
 protected:
  // The message and code of what opening `path` throws.
  Error open_error(const fs::path& path) {
    try {
      ModelSource::open(path);
    } catch (const Error& error) {
      return error;
    }
    return Error(ErrorCode::kIo, "no error");
  }

  // Opens the tiny checkpoint after `change`.
  Error error_after(const std::function<void(TinyCheckpoint&)>& change) {
    TinyCheckpoint checkpoint;
    change(checkpoint);
    checkpoint.write(folder_.path());
    return open_error(folder_.path());
  }

  void expect_error(const std::function<void(TinyCheckpoint&)>& change, ErrorCode code,
                    std::vector<std::string_view> parts) {
    const Error error = error_after(change);
    EXPECT_EQ(error.code(), code) << error.what();
    for (const std::string_view part : parts) {
      EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
    }
  }

  TestFolder folder_;
};

TEST_F(Sources, ReadsWhatTheFolderHolds) {
  TinyCheckpoint checkpoint;
  checkpoint.write(folder_.path());
  const auto source = ModelSource::open(folder_.path());
  EXPECT_EQ(source->profile(), "checkpoint");
  EXPECT_EQ(source->config().architecture, "LlamaForCausalLM");
  EXPECT_EQ(source->specs().size(), checkpoint.tensors.size());
  EXPECT_EQ(source->config_text(), checkpoint.config);
  EXPECT_EQ(source->tokenizer_text(), "");
  uint64_t bytes = 0;
  for (const TensorSpec& spec : source->specs()) {
    const TinyTensor& written = checkpoint.tensor(spec.name);
    EXPECT_EQ(source->stored_bytes(spec), written.bytes().size());
    EXPECT_EQ(source->codec_name(spec), "raw");
    bytes += written.bytes().size();
    if (spec.role == Role::kVector) {
      EXPECT_EQ(source->vector(spec), written.rounded());
    } else {
      std::vector<float> values(static_cast<size_t>(spec.rows * spec.cols));
      codec::decode_rows(source->matrix(spec), 0, spec.rows, values.data());
      EXPECT_EQ(values, written.rounded());
    }
  }
  EXPECT_EQ(source->file_bytes(), bytes);
}

TEST_F(Sources, TakesEveryFloatType) {
  for (const base::DType dtype : {base::DType::kF32, base::DType::kF16, base::DType::kBF16}) {
    TinyCheckpoint checkpoint;
    for (TinyTensor& tensor : checkpoint.tensors) tensor.dtype = dtype;
    checkpoint.write(folder_.path());
    const auto source = ModelSource::open(folder_.path());
    const TensorSpec& norm = source->specs()[1];
    EXPECT_EQ(source->vector(norm), checkpoint.tensor(norm.name).rounded());
  }
}

TEST_F(Sources, APathThatIsNotThere) {
  EXPECT_EQ(open_error(folder_.path() / "none").code(), ErrorCode::kUsage);
  EXPECT_EQ(open_error(folder_.path()).code(), ErrorCode::kInvalidData);  // an empty folder
  write_file(folder_.path() / "text", "hello");
  EXPECT_EQ(open_error(folder_.path() / "text").code(), ErrorCode::kInvalidData);
}

TEST_F(Sources, MissingTensors) {
  const TinyCheckpoint good;
  for (const TinyTensor& tensor : good.tensors) {
    expect_error([&](TinyCheckpoint& c) { c.remove(tensor.name); }, ErrorCode::kInvalidData,
                 {tensor.name, "(MISSING)"});
  }
}

TEST_F(Sources, WrongShapes) {
  const TinyCheckpoint good;
  for (const TinyTensor& tensor : good.tensors) {
    expect_error(
        [&](TinyCheckpoint& c) {
          TinyTensor& changed = c.tensor(tensor.name);
          changed.shape[0] += 1;
          changed.values.resize(changed.count());
        },
        ErrorCode::kInvalidData, {"model.safetensors", tensor.name, "found [", "(MISMATCH)"});
  }
  // Transposed, flat, of rank 3, empty.
  const std::string down = "model.layers.0.mlp.down_proj.weight";
  const std::vector<std::vector<int64_t>> shapes = {{24, 16}, {384}, {1, 16, 24}, {0, 24}, {}};
  for (const auto& shape : shapes) {
    expect_error(
        [&](TinyCheckpoint& c) {
          c.tensor(down).shape = shape;
          c.tensor(down).values.resize(c.tensor(down).count());
        },
        ErrorCode::kInvalidData, {down, "allowed is [16, 24]", "(MISMATCH)"});
  }
}

TEST_F(Sources, WrongTypes) {
  expect_error([](TinyCheckpoint& c) { c.tensor("lm_head.weight").dtype = base::DType::kI32; },
               ErrorCode::kInvalidData, {"lm_head.weight", "found I32", "(DTYPE)"});
  expect_error([](TinyCheckpoint& c) { c.tensor("model.norm.weight").dtype = base::DType::kU32; },
               ErrorCode::kInvalidData, {"model.norm.weight", "found U32", "(DTYPE)"});
}

// Sizes that config.json inflates are found out before anything of that size is allocated.
TEST_F(Sources, ConfigsThatDisagreeWithTheTensors) {
  const auto replace = [](const char* from, const char* to) {
    return [=](TinyCheckpoint& c) { c.config.replace(c.config.find(from), strlen(from), to); };
  };
  expect_error(replace("\"hidden_size\": 16", "\"hidden_size\": 2048"), ErrorCode::kInvalidData,
               {"model.embed_tokens.weight", "(MISMATCH)"});
  expect_error(replace("\"hidden_size\": 16", "\"hidden_size\": 1099511627776"),
               ErrorCode::kInvalidData, {"config.json: hidden_size", "(FIELD)"});
  expect_error(replace("\"vocab_size\": 20", "\"vocab_size\": 21"), ErrorCode::kInvalidData,
               {"model.embed_tokens.weight", "found [20, 16]", "allowed is [21, 16]"});
  expect_error(replace("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2"),
               ErrorCode::kInvalidData, {"model.layers.1.input_layernorm.weight", "(MISSING)"});
  expect_error(replace("LlamaForCausalLM", "Qwen2ForCausalLM"), ErrorCode::kInvalidData,
               {"q_proj.bias", "(MISSING)"});
}

TEST_F(Sources, TensorsWithoutAPlace) {
  const auto add = [](const char* name) { return [=](TinyCheckpoint& c) { c.add(name, {16}); }; };
  expect_error(add("model.layers.0.self_attn.q_proj.bias"), ErrorCode::kInvalidData,
               {"self_attn.q_proj.bias", "no such tensor"});
  expect_error(add("model.layers.1.input_layernorm.weight"), ErrorCode::kInvalidData,
               {"model.layers.1.", "no such tensor"});
  expect_error(add("evil\n\x1b[31mname"), ErrorCode::kInvalidData, {"evil\\x0a\\x1b[31mname"});
  EXPECT_EQ(error_after(add("model.layers.0.self_attn.rotary_emb.inv_freq")).code(),
            ErrorCode::kIo);  // ignored: it follows from the config
}

TEST_F(Sources, TiedHeads) {
  const auto tie = [](TinyCheckpoint& c) { c.config.insert(1, "\"tie_word_embeddings\": true, "); };
  const auto share = [&](TinyCheckpoint& c) {
    tie(c);
    c.tensor("lm_head.weight").values = c.tensor("model.embed_tokens.weight").values;
  };
  expect_error(tie, ErrorCode::kInvalidData, {"lm_head.weight", "(MISMATCH)"});
  EXPECT_EQ(error_after(share).code(), ErrorCode::kIo);
  expect_error(
      [&](TinyCheckpoint& c) {
        share(c);
        c.tensor("lm_head.weight").dtype = base::DType::kF16;
      },
      ErrorCode::kInvalidData, {"lm_head.weight", "(MISMATCH)"});
  const Error without = error_after([&](TinyCheckpoint& c) {
    tie(c);
    c.remove("lm_head.weight");
  });
  EXPECT_EQ(without.code(), ErrorCode::kIo) << without.what();
}

TEST_F(Sources, NonFiniteVectors) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    TinyCheckpoint checkpoint;
    checkpoint.tensor("model.norm.weight").values[5] = bad;
    checkpoint.write(folder_.path());
    const auto source = ModelSource::open(folder_.path());
    for (const TensorSpec& spec : source->specs()) {
      if (spec.name != "model.norm.weight") continue;
      try {
        source->vector(spec);
        ADD_FAILURE();
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInvalidData);
        EXPECT_NE(std::string(error.what()).find("element 5"), std::string::npos) << error.what();
      }
    }
  }
}

}  // namespace
}  // namespace upg::model
