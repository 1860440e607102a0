// Plans: codecs by profile and pattern, bits at Phi-4's width, a Phi-4-shaped folder from its
// headers alone, and the sample checkpoints.
#include "compress/plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <map>

#include "compress/compress_testing.h"
#include "upg/compress.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

std::map<std::string, PlannedTensor> by_name(const CompressPlan& plan) {
  std::map<std::string, PlannedTensor> tensors;
  for (const PlannedTensor& tensor : plan.tensors) tensors[tensor.name] = tensor;
  return tensors;
}

std::string usage_error(const std::filesystem::path& source, const CompressOptions& options) {
  try {
    plan_compression(source, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage) << error.what();
    return error.what();
  }
  return "";
}

class PlanTest : public testing::Test {
 protected:
  void SetUp() override { TinyCheckpoint().write(source()); }
  std::filesystem::path source() const { return folder_ / "source"; }
  TempFolder folder_;
};

TEST_F(PlanTest, TenTimesRotatesLayersAndNeverTheEmbedding) {
  const auto tensors = by_name(plan_compression(source(), uncalibrated()));
  EXPECT_EQ(tensors.at("model.layers.1.mlp.down_proj.weight").codec, "path3");
  EXPECT_TRUE(tensors.at("model.layers.1.mlp.down_proj.weight").rotated);
  EXPECT_EQ(tensors.at("model.embed_tokens.weight").codec, "path4");
  EXPECT_FALSE(tensors.at("model.embed_tokens.weight").rotated);
  EXPECT_EQ(tensors.at("lm_head.weight").codec, "path4");
  EXPECT_EQ(tensors.at("model.norm.weight").codec, "f32");
}

TEST_F(PlanTest, TheLastMatchingPatternWins) {
  CompressOptions options = uncalibrated();
  options.tensor_codecs = {{"*.down_proj", "path4"},
                           {"model.layers.0.*", "int8"},
                           {"lm_head.weight", "f16"},
                           {"*embed*", "raw"}};
  const auto tensors = by_name(plan_compression(source(), options));
  EXPECT_EQ(tensors.at("model.layers.0.mlp.down_proj.weight").codec, "int8");
  EXPECT_EQ(tensors.at("model.layers.1.mlp.down_proj.weight").codec, "path4");
  EXPECT_EQ(tensors.at("model.layers.1.self_attn.o_proj.weight").codec, "path3");
  EXPECT_EQ(tensors.at("model.layers.0.input_layernorm.weight").codec, "f32");
  EXPECT_EQ(tensors.at("lm_head.weight").codec, "raw");
  EXPECT_EQ(tensors.at("lm_head.weight").bytes, 333u * 160 * 2);
  EXPECT_FALSE(tensors.at("lm_head.weight").rotated);
}

TEST_F(PlanTest, OverriddenFilesCompressAndVerify) {
  CompressOptions options = uncalibrated();
  options.tensor_codecs = {{"*.0.*.qkv_proj", "sparse"}, {"*.0.*.o_proj", "mdcsr"},
                           {"*.1.*.qkv_proj", "path2"},  {"*.1.*.o_proj", "int8"},
                           {"*.0.*.down_proj", "f32"},   {"*.1.*.down_proj", "bf16"}};
  const CompressResult result = compress(source(), folder_ / "out.upg", options);
  const VerifyReport report = verify(folder_ / "out.upg", source());
  EXPECT_TRUE(report.ok) << (report.errors.empty() ? "" : report.errors.front());
  for (const VerifyReport::TensorError& tensor : report.tensors) {
    if (tensor.name.find("down_proj") != std::string::npos) {
      EXPECT_EQ(tensor.relative_error, 0) << tensor.name;
    }
  }
  decompress(folder_ / "out.upg", folder_ / "dense", "bf16");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "dense" / "model.safetensors"));
  EXPECT_GT(result.relative_error, 0.1);
}

TEST_F(PlanTest, RefusesWhatItDoesNotKnowByName) {
  CompressOptions options = uncalibrated();
  options.profile = "12x";
  EXPECT_NE(usage_error(source(), options).find("10x, sparse, mdcsr, 8bit, raw"),
            std::string::npos);
  options = uncalibrated();
  options.tensor_codecs = {{"lm_head", "path9"}};
  EXPECT_NE(usage_error(source(), options).find("path3"), std::string::npos);
  options.tensor_codecs = {{"nothing*", "raw"}};
  EXPECT_NE(usage_error(source(), options).find("model.embed_tokens.weight"), std::string::npos);
  options.tensor_codecs = {{"model.norm", "raw"}};  // a vector is no matrix
  EXPECT_NE(usage_error(source(), options), "");
  options = uncalibrated();
  options.profile = "mdcsr";
  options.tensor_codecs = {{"lm_head", "raw"}};
  EXPECT_NE(usage_error(source(), options).find("mdcsr"), std::string::npos);
  options = uncalibrated();
  for (const double sparsity : {-0.1, 1.0, std::nan("")}) {
    options.sparsity = sparsity;
    EXPECT_NE(usage_error(source(), options).find("sparsity"), std::string::npos);
  }
  EXPECT_NE(usage_error(folder_ / "nowhere", uncalibrated()), "");
}

TEST_F(PlanTest, BitsAtWidth5120AreThoseOfASquareMatrix) {
  const std::map<std::string, double> expected = {{"path2", 2 + 32.0 / 5120},
                                                  {"path3", 3 + 32.0 / 5120},
                                                  {"path4", 4 + 32.0 / 5120},
                                                  {"int8", 8 + 32.0 / 5120},
                                                  {"raw", 16},
                                                  {"sparse", 1 + 2 + 32.0 / 5120},
                                                  {"mdcsr", 16}};
  for (const auto& [name, bits] : expected) {
    Storage storage;
    storage.codec = codec::find_codec(name);
    ASSERT_NE(storage.codec, nullptr) << name;
    for (const int64_t cols : {256, 1000, 5120, 17920}) {
      const uint64_t bytes = bytes_of(storage.parts(4096, cols));
      EXPECT_NEAR(bits_at_5120(storage, 4096, cols, bytes), bits, 0.015) << name << " " << cols;
    }
  }
}

// ---- Phi-4's shapes in a sparse file

void write_phi4_headers(const std::filesystem::path& folder) {
  const std::string config = R"({
 "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_act": "silu",
 "attention_bias": false, "hidden_size": 5120, "intermediate_size": 17920,
 "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 10,
 "vocab_size": 100352, "max_position_embeddings": 16384,
 "original_max_position_embeddings": 16384, "rms_norm_eps": 1e-05, "rope_theta": 250000,
 "rope_scaling": null, "sliding_window": null, "tie_word_embeddings": false,
 "bos_token_id": 100257, "eos_token_id": 100265, "pad_token_id": 100349,
 "torch_dtype": "bfloat16"
})";
  std::filesystem::create_directories(folder);
  write_bytes(folder / "config.json", config);
  // As large as the real one: the ratio counts it.
  write_bytes(folder / "tokenizer.json", "{\"x\": \"" + std::string(4'250'000, 'x') + "\"}");
  std::string header = "{";
  uint64_t offset = 0;
  for (const model::TensorSpec& spec :
       model::tensor_specs(model::parse_config(config, "", "config.json"))) {
    const uint64_t end = offset + 2 * static_cast<uint64_t>(spec.rows * spec.cols);
    const std::string shape = spec.role == model::Role::kVector
                                  ? fmt::format("{}", spec.rows)
                                  : fmt::format("{}, {}", spec.rows, spec.cols);
    header += fmt::format(
        "{}\"{}\": {{\"dtype\": \"BF16\", \"shape\": [{}], "
        "\"data_offsets\": [{}, {}]}}",
        offset == 0 ? "" : ", ", spec.name, shape, offset, end);
    offset = end;
  }
  header += "}";
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  write_bytes(folder / "model.safetensors", bytes + header);
  std::filesystem::resize_file(folder / "model.safetensors", 8 + length + offset);
}

TEST(PlanPhi4, IsTenToOneFromTheHeadersAlone) {
  const TempFolder folder;
  write_phi4_headers(folder / "phi4");
  const auto start = std::chrono::steady_clock::now();
  const CompressPlan plan = plan_compression(folder / "phi4", uncalibrated());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(plan.parameters, 14'659'507'200u);
  EXPECT_GE(plan.ratio_f32, 10.0);
  EXPECT_NEAR(plan.layer_bits_at_5120, 3.006, 0.001);
  EXPECT_LE(plan.layer_bits_at_5120, 3.12);
  EXPECT_LE(plan.peak_ram_bytes, (uint64_t{2} << 30) + uint64_t{100352} * 5120 * 4);
  EXPECT_GT(plan.seconds_estimate, 10);
  EXPECT_LT(seconds, 20);  // two seconds on an idle machine, more under sanitizers
}

TEST(PlanPhi4, StaysTenToOneWithEveryBitSpent) {
  const TempFolder folder;
  write_phi4_headers(folder / "phi4");
  const CompressPlan plan = plan_compression(folder / "phi4", {});
  EXPECT_GE(plan.ratio_f32, 10.0);
  EXPECT_GT(plan.layer_bits_at_5120, 3.10);
  EXPECT_LE(plan.layer_bits_at_5120, 3.12);
}

TEST(PlanPhi4, EveryProfileStaysWithinTheMemoryPromised) {
  const TempFolder folder;
  write_phi4_headers(folder / "phi4");
  for (const Profile& profile : all_profiles()) {
    CompressOptions options = uncalibrated();
    options.profile = profile.name;
    const Plan plan = make_plan(folder / "phi4", options);
    EXPECT_LE(plan.summary.peak_ram_bytes, (uint64_t{2} << 30) + uint64_t{100352} * 5120 * 4)
        << profile.name;
  }
}

TEST(PlanPhi4, CalibratesInEightGigabytes) {
  const TempFolder folder;
  write_phi4_headers(folder / "phi4");
  CompressOptions options;
  options.threads = 2;
  options.max_ram = 8'000'000'000;
  const Plan plan = make_plan(folder / "phi4", options);
  EXPECT_FALSE(plan.activations_in_memory);
  EXPECT_LE(plan.summary.peak_ram_bytes, options.max_ram);
  // What went out of memory takes disk: 128 windows of 1,024 tokens, 10,240 floats, two models.
  EXPECT_GT(plan.summary.disk_bytes, plan.summary.output_bytes + uint64_t{131072} * 10240 * 8);
  options.max_ram = 100'000'000'000;
  const Plan roomy = make_plan(folder / "phi4", options);
  EXPECT_TRUE(roomy.activations_in_memory);
  EXPECT_GT(roomy.summary.peak_ram_bytes, plan.summary.peak_ram_bytes);
}

TEST(PlanPhi4, SaysHowMuchMemoryItNeeds) {
  const TempFolder folder;
  write_phi4_headers(folder / "phi4");
  CompressOptions options;
  options.threads = 2;
  options.max_ram = 3'000'000'000;
  try {
    plan_compression(folder / "phi4", options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    const std::string_view message = error.what();
    EXPECT_TRUE(message.starts_with("--max-ram: found 3.00 GB, needed are ")) << message;
    EXPECT_NE(message.find(" bytes)"), std::string_view::npos) << message;
  }
}

TEST(PlanSamples, Books74mComesCloseToTen) {
  const auto source = sample_checkpoint("books-74m");
  if (!source) GTEST_SKIP() << "books-74m is neither in UPG_TEST_MODELS nor beside the repository";
  const Plan plan = make_plan(*source, uncalibrated());
  EXPECT_GE(plan.summary.ratio_f32, 9.2);
  EXPECT_NEAR(plan.summary.layer_bits_at_5120, 3.006, 0.001);
}

TEST(PlanSamples, Books12mCompressesAsPlanned) {
  const auto source = sample_checkpoint("books-12m");
  if (!source) GTEST_SKIP() << "books-12m is not beside the repository";
  const TempFolder folder;
  const CompressResult result = compress(*source, folder / "out.upg", uncalibrated());
  EXPECT_EQ(result.file_bytes, result.plan.output_bytes);
  EXPECT_LT(result.relative_error, 0.165);
  const InspectReport report = inspect(folder / "out.upg");
  EXPECT_DOUBLE_EQ(report.ratio_f32, result.ratio_f32);
  EXPECT_NEAR(report.layer_bits_at_5120, 3.006, 0.001);
  EXPECT_TRUE(verify(folder / "out.upg", "").ok);
}

}  // namespace
}  // namespace upg::compression
