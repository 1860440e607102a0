// Checkpoints that are already sparse keep their zeros, dense ones are left alone.
#include "compress/zeros.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compress/compress_testing.h"
#include "compress/decompress.h"
#include "format/checkpoint.h"

namespace upg::compression {
namespace {

base::TensorView view_of(const std::vector<float>& values, int64_t rows, int64_t cols) {
  return {base::DType::kF32, {rows, cols}, std::as_bytes(std::span(values))};
}

TEST(CountNonzeros, CountsWhatEachCodecStores) {
  constexpr int64_t kRows = 6, kCols = 1100;
  std::vector<float> w(static_cast<size_t>(kRows * kCols));
  w[0] = 1;
  w[255] = 1;                 // the gap that one entry can say
  w[kCols + 256] = 1;         // one bridge
  w[kCols + 256 + 511] = -1;  // two bridges
  w[2 * kCols] = -0.0f;
  w[4 * kCols + 1099] = 1;  // four bridges
  for (const int threads : {1, 3}) {
    base::ThreadTeam team(threads);
    const NonzeroCount count = count_nonzeros(view_of(w, kRows, kCols), kRows, kCols, team, {});
    EXPECT_EQ(count.weights, 5);
    EXPECT_EQ(count.sparse_codes, 6);  // 4 and 1, rounded up
    EXPECT_EQ(count.mdcsr_entries, 5 + 1 + 2 + 4);
  }
}

// What a matrix [512, 1024] with that share of zeros gets in place of `planned`; "" for nothing.
std::string codec_for(std::string_view planned, double zeros) {
  constexpr int64_t kRows = 512, kCols = 1024;
  Storage storage;
  storage.codec = codec::find_codec(planned);
  NonzeroCount count;
  count.weights = std::llround((1 - zeros) * kRows * kCols);
  count.sparse_codes = count.mdcsr_entries = count.weights;
  const auto kept = storage_with_zeros(storage, count, kRows, kCols);
  return kept ? std::string(kept->codec->name) : "";
}

TEST(StorageWithZeros, IsTheSmallestWhereThatCostsNoMore) {
  EXPECT_EQ(codec_for("path3", 0.0), "");
  EXPECT_EQ(codec_for("path3", 0.4), "");
  EXPECT_EQ(codec_for("path3", 0.5), "sparse");
  EXPECT_EQ(codec_for("path3", 0.9), "sparse");
  EXPECT_EQ(codec_for("path3", 0.99), "mdcsr");
  EXPECT_EQ(codec_for("path4", 0.1), "");
  EXPECT_EQ(codec_for("path4", 0.25), "sparse");
  EXPECT_EQ(codec_for("sparse", 0.4), "");
  EXPECT_EQ(codec_for("sparse", 0.5), "sparse");
}

// A checkpoint whose layers have 60 % zeros, its down projections 99 %.
TinyCheckpoint pruned() {
  TinyCheckpoint checkpoint;
  checkpoint.edit = [](const model::TensorSpec& spec, std::vector<float>& values) {
    const size_t each = spec.name.ends_with("down_proj.weight") ? 100 : 5;
    for (size_t i = 0; i < values.size() && spec.role == model::Role::kMatrix; ++i) {
      if (i * 7919 % each >= (each == 5 ? 2u : 1u)) values[i] = 0;
    }
    return true;
  };
  return checkpoint;
}

std::vector<float> values_of(const format::Checkpoint& checkpoint, const std::string& name) {
  const base::TensorView& view = checkpoint.find(name)->view;
  std::vector<float> values(static_cast<size_t>(view.shape[0] * view.shape[1]));
  base::to_float(view, 0, static_cast<int64_t>(values.size()), values.data());
  return values;
}

// Zeros of the source are zeros of the file.
void expect_zeros_kept(const TempFolder& folder, const TinyCheckpoint& checkpoint) {
  decompress(folder / "out.upg", folder / "dense", "f32");
  const format::Checkpoint before(folder / "source");
  const format::Checkpoint after(folder / "dense");
  for (const model::TensorSpec& spec : checkpoint.specs()) {
    if (spec.role != model::Role::kMatrix) continue;
    const std::vector<float> want = values_of(before, spec.name);
    const std::vector<float> got = values_of(after, spec.name);
    for (size_t i = 0; i < want.size(); ++i) {
      if (want[i] == 0) {
        ASSERT_EQ(got[i], 0.0f) << spec.name << " " << i;
      }
    }
  }
}

CompressOptions options_of(const char* profile) {
  CompressOptions options;
  options.profile = profile;
  options.calibrate = kNoCalibration;
  return options;
}

class KeepZeros : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Profiles, KeepZeros, testing::Values("10x", "sparse"),
                         [](const auto& test) { return std::string("profile_") + test.param; });

TEST_P(KeepZeros, OfASparseCheckpoint) {
  const TempFolder folder;
  const TinyCheckpoint checkpoint = pruned();
  checkpoint.write(folder / "source");
  TinyCheckpoint().write(folder / "full");
  const CompressResult result =
      compress(folder / "source", folder / "out.upg", options_of(GetParam()));
  const CompressResult full =
      compress(folder / "full", folder / "full.upg", options_of(GetParam()));
  EXPECT_LT(result.file_bytes, full.file_bytes);
  int sparse = 0, mdcsr = 0;
  for (const PlannedTensor& tensor : result.plan.tensors) {
    sparse += tensor.keeps_zeros && tensor.codec == "sparse";
    mdcsr += tensor.keeps_zeros && tensor.codec == "mdcsr";
  }
  EXPECT_GT(sparse, 0);
  EXPECT_GT(mdcsr, 0);
  EXPECT_TRUE(verify(folder / "out.upg", folder / "source").ok);
  EXPECT_LT(result.relative_error, 0.15);
  expect_zeros_kept(folder, checkpoint);
}

TEST_P(KeepZeros, OfASparseCheckpointCalibrated) {
  const TempFolder folder;
  TinyCheckpoint checkpoint = pruned();
  checkpoint.tokenizer = true;
  checkpoint.write(folder / "source");
  write_bytes(folder / "text", tiny_text());
  CompressOptions options = options_of(GetParam());
  options.calibrate = (folder / "text").native();
  options.calibration_windows = 5;
  compress(folder / "source", folder / "out.upg", options);
  expect_zeros_kept(folder, checkpoint);
}

TEST_P(KeepZeros, NotOfADenseCheckpoint) {
  const TempFolder folder;
  TinyCheckpoint().write(folder / "source");
  const CompressResult result =
      compress(folder / "source", folder / "out.upg", options_of(GetParam()));
  for (const PlannedTensor& tensor : result.plan.tensors) {
    EXPECT_FALSE(tensor.keeps_zeros) << tensor.name;
  }
}

TEST_P(KeepZeros, NotWhereAnotherCodecIsAskedFor) {
  const TempFolder folder;
  pruned().write(folder / "source");
  CompressOptions options = options_of(GetParam());
  options.tensor_codecs = {{"*", "path4"}};
  const CompressResult result = compress(folder / "source", folder / "out.upg", options);
  for (const PlannedTensor& tensor : result.plan.tensors) {
    EXPECT_FALSE(tensor.keeps_zeros) << tensor.name;
  }
}

}  // namespace
}  // namespace upg::compression
