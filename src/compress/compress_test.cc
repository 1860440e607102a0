// Every profile end to end on a small random checkpoint: sizes as planned, structure, errors within
// bounds, the same bytes for any number of threads, and nothing left behind by what fails.
#include "upg/compress.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cmath>

#include "compress/compress_testing.h"
#include "compress/decompress.h"
#include "compress/stored_model.h"
#include "format/checkpoint.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

struct ProfileCase {
  const char* name;
  double largest_error;  // of a Gaussian matrix
  bool exact_size;       // the plan knows the size to the byte
  const char* version;
};

// Bounds: the codecs' mean squared errors on Gaussian weights, with a tenth to spare.
constexpr ProfileCase kProfiles[] = {{"10x", 0.19, true, "3.0"},
                                     {"sparse", 0.36, true, "3.0"},
                                     {"mdcsr", 0.30, false, "2.0"},
                                     {"8bit", 0.012, true, "3.0"},
                                     {"raw", 0.0, true, "3.0"}};

class ProfileTest : public testing::TestWithParam<ProfileCase> {
 protected:
  CompressOptions options() const {
    CompressOptions options = uncalibrated();
    options.profile = GetParam().name;
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(All, ProfileTest, testing::ValuesIn(kProfiles), [](const auto& test) {
  return std::string("profile_") + test.param.name;
});

// Runs `action`; its error's message, or "" when there was none.
template <class Action>
std::string error_of(ErrorCode code, const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "";
}

TEST_P(ProfileTest, PlansWritesAndVerifies) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  const auto file = folder / "out.upg";
  const CompressResult result = compress(folder / "source", file, options());
  EXPECT_EQ(result.file_bytes, std::filesystem::file_size(file));
  if (GetParam().exact_size) {
    EXPECT_EQ(result.plan.output_bytes, result.file_bytes);
  }
  EXPECT_LE(result.relative_error, GetParam().largest_error);
  const VerifyReport report = verify(file, folder / "source");
  EXPECT_TRUE(report.ok) << (report.errors.empty() ? "" : report.errors.front());
  EXPECT_NEAR(report.relative_error, result.relative_error, 1e-9);
  EXPECT_EQ(report.tensors.size(), result.plan.tensors.size());
  const InspectReport inspected = inspect(file);
  EXPECT_EQ(inspected.version, GetParam().version);
  EXPECT_EQ(inspected.profile, GetParam().name);
  EXPECT_EQ(inspected.parameters, result.plan.parameters);
  EXPECT_EQ(inspected.architecture, "Phi3ForCausalLM");
}

TEST_P(ProfileTest, SameBytesForAnyNumberOfThreads) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  std::string first;
  for (const int threads : {1, 2, 3}) {
    CompressOptions with_threads = options();
    with_threads.threads = threads;
    with_threads.force = true;
    compress(folder / "source", folder / "out.upg", with_threads);
    const std::string bytes = read_bytes(folder / "out.upg");
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << threads << " threads";
  }
}

TEST_P(ProfileTest, DecompressesToWhatTheCodecsDecode) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  compress(folder / "source", folder / "out.upg", options());
  decompress(folder / "out.upg", folder / "dense", "f32");
  const format::Checkpoint dense(folder / "dense");
  const StoredModel stored(folder / "out.upg");
  for (const StoredTensor& tensor : stored.tensors()) {
    const format::TensorEntry* entry = dense.find(tensor.name);
    ASSERT_NE(entry, nullptr) << tensor.name;
    ASSERT_EQ(entry->view.dtype, base::DType::kF32);
    std::vector<float> expected(tensor.elements());
    if (tensor.record != nullptr) {
      codec::decode_rows(stored.bind(tensor), 0, tensor.rows, expected.data());
    } else {
      base::to_float(*tensor.vector, 0, tensor.rows, expected.data());
    }
    std::vector<float> found(tensor.elements());
    base::to_float(entry->view, 0, static_cast<int64_t>(found.size()), found.data());
    EXPECT_TRUE(found == expected) << tensor.name;
  }
}

TEST_P(ProfileTest, LeavesNothingWhenStopped) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  const auto stop = [](const Progress&) { return false; };
  const std::string message = error_of(ErrorCode::kCancelled, [&] {
    compress(folder / "source", folder / "out.upg", options(), stop);
  });
  EXPECT_NE(message, "");
  EXPECT_EQ(folder.entries(), std::vector<std::string>{"source"});
}

TEST_P(ProfileTest, LeavesNothingWhenTheFileGrowsTooLarge) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  rlimit small = old_limit;
  small.rlim_cur = 100'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message =
      error_of(ErrorCode::kIo, [&] { compress(folder / "source", folder / "out.upg", options()); });
  ::setrlimit(RLIMIT_FSIZE, &old_limit);
  ::signal(SIGXFSZ, old_handler);
  EXPECT_NE(message.find("out.upg"), std::string::npos) << message;
  EXPECT_EQ(folder.entries(), std::vector<std::string>{"source"});
}

TEST(Compress, RawIsTheSourceByteForByte) {
  const TempFolder folder;
  TinyCheckpoint checkpoint;
  checkpoint.vector_dtype = base::DType::kF16;
  checkpoint.write(folder / "source");
  CompressOptions options = uncalibrated();
  options.profile = "raw";
  compress(folder / "source", folder / "out.upg", options);
  decompress(folder / "out.upg", folder / "dense", "");
  const format::Checkpoint source(folder / "source");
  const format::Checkpoint dense(folder / "dense");
  ASSERT_EQ(source.tensors().size(), dense.tensors().size());
  for (const format::TensorEntry* entry : source.tensors()) {
    const format::TensorEntry* found = dense.find(entry->name);
    ASSERT_NE(found, nullptr) << entry->name;
    EXPECT_EQ(found->view.dtype, entry->view.dtype) << entry->name;
    EXPECT_TRUE(std::equal(found->view.bytes.begin(), found->view.bytes.end(),
                           entry->view.bytes.begin(), entry->view.bytes.end()))
        << entry->name;
  }
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json"}) {
    EXPECT_EQ(read_bytes(folder / "source" / name), read_bytes(folder / "dense" / name)) << name;
  }
}

TEST(Compress, DecompressesToShardsThatCompressAgain) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  CompressOptions options = uncalibrated();
  options.profile = "raw";
  compress(folder / "source", folder / "one.upg", options);
  DecompressOptions small_shards;
  small_shards.shard_bytes = 120'000;
  decompress_file(folder / "one.upg", folder / "dense", small_shards, {});
  EXPECT_FALSE(std::filesystem::exists(folder / "dense" / "model.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(folder / "dense" / "model.safetensors.index.json"));
  int shards = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "dense")) {
    if (entry.path().extension() != ".safetensors") continue;
    ++shards;
    EXPECT_LE(entry.file_size(), 140'000u);
  }
  EXPECT_GE(shards, 4);
  compress(folder / "dense", folder / "two.upg", options);
  EXPECT_TRUE(read_bytes(folder / "one.upg") == read_bytes(folder / "two.upg"));
}

TEST(Compress, ShardsGiveTheSameFileAsOneFile) {
  const TempFolder folder;
  TinyCheckpoint checkpoint;
  checkpoint.write(folder / "one");
  checkpoint.shards = 3;
  checkpoint.write(folder / "three");
  compress(folder / "one", folder / "one.upg", uncalibrated());
  compress(folder / "three", folder / "three.upg", uncalibrated());
  EXPECT_TRUE(read_bytes(folder / "one.upg") == read_bytes(folder / "three.upg"));
}

TEST(Compress, TakesEveryElementType) {
  for (const base::DType dtype : {base::DType::kF32, base::DType::kF16}) {
    const TempFolder folder;
    TinyCheckpoint checkpoint;
    checkpoint.matrix_dtype = dtype;
    checkpoint.vector_dtype = dtype;
    checkpoint.write(folder / "source");
    const CompressResult result = compress(folder / "source", folder / "out.upg", uncalibrated());
    EXPECT_LT(result.relative_error, 0.19);
    EXPECT_TRUE(verify(folder / "out.upg", folder / "source").ok);
    decompress(folder / "out.upg", folder / "dense", "");
    EXPECT_EQ(format::Checkpoint(folder / "dense").find("lm_head.weight")->view.dtype, dtype);
  }
}

TEST(Compress, TiedHeadIsStoredOnceAndUnrotated) {
  const TempFolder folder;
  TinyCheckpoint checkpoint;
  checkpoint.tied = true;
  checkpoint.write(folder / "source");
  const CompressResult result = compress(folder / "source", folder / "out.upg", uncalibrated());
  int embeddings = 0;
  for (const PlannedTensor& tensor : result.plan.tensors) {
    EXPECT_NE(tensor.name, "lm_head.weight");
    if (tensor.name != "model.embed_tokens.weight") continue;
    ++embeddings;
    EXPECT_FALSE(tensor.rotated);
    EXPECT_EQ(tensor.codec, "path4");
  }
  EXPECT_EQ(embeddings, 1);
}

TEST(Compress, RefusesAnOutputThatExistsUnlessForced) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  write_bytes(folder / "out.upg", "old");
  CompressOptions options = uncalibrated();
  const auto run = [&] { compress(folder / "source", folder / "out.upg", options); };
  EXPECT_NE(error_of(ErrorCode::kUsage, run).find("--force"), std::string::npos);
  EXPECT_EQ(read_bytes(folder / "out.upg"), "old");
  options.force = true;
  EXPECT_EQ(error_of(ErrorCode::kUsage, run), "");
  EXPECT_TRUE(verify(folder / "out.upg", "").ok);
}

TEST(Compress, NeverWritesOverItsSource) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  std::filesystem::create_symlink(folder / "source" / "model.safetensors", folder / "link.upg");
  CompressOptions options = uncalibrated();
  options.force = true;
  for (const auto& output : {folder / "source" / "model.safetensors", folder / "link.upg"}) {
    const std::string message =
        error_of(ErrorCode::kUsage, [&] { compress(folder / "source", output, options); });
    EXPECT_NE(message.find("checkpoint"), std::string::npos) << message;
  }
  EXPECT_EQ(error_of(
                ErrorCode::kUsage,
                [&] {
                  compress(folder / "source", folder / "missing" / "x.upg", options);
                }).find("folder does not exist") != std::string::npos,
            true);
}

TEST(Compress, RemovesWhatAKilledRunLeft) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  write_bytes(folder / "out.upg.tmp-999999", "half");
  write_bytes(folder / "out.upg.parts.tmp-999999", "half");
  write_bytes(folder / "out.upg.tmp-mine", "not ours");
  compress(folder / "source", folder / "out.upg", uncalibrated());
  const std::vector<std::string> expected = {"out.upg", "out.upg.tmp-mine", "source"};
  EXPECT_EQ(folder.entries(), expected);
}

TEST(Compress, ReportsProgress) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  Progress last;
  int calls = 0;
  const CompressResult result = compress(
      folder / "source", folder / "out.upg", uncalibrated(), [&](const Progress& progress) {
        EXPECT_GE(progress.elements_done, last.elements_done);
        EXPECT_LE(progress.elements_done, progress.elements_total);
        last = progress;
        ++calls;
        return true;
      });
  EXPECT_GE(calls, 2);  // at the start and at the end
  EXPECT_EQ(last.elements_done, result.plan.parameters);
  EXPECT_EQ(last.tensors_done, last.tensors_total);
  EXPECT_GT(last.bits_per_weight, 3.0);
}

}  // namespace
}  // namespace upg::compression
