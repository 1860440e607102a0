#include "format/safetensors.h"

#include "base/file.h"
#include "format/test_support.h"

namespace upg::format {
namespace {

using testing::HasSubstr;

class SafetensorsWriting : public testing::Test {
 protected:
  TempFolder folder_;
  std::filesystem::path path_ = folder_ / "a.safetensors";
  const std::vector<std::byte> codes_ = bytes_of(std::vector<uint8_t>(128, 7));
  const std::vector<std::byte> scales_ = bytes_of(std::vector<float>{0.5f, -2.0f, 1e-30f});

  void write() {
    SafetensorsWriter writer(path_, 1000);
    writer.reserve(1 << 20);  // more than it will be
    EXPECT_EQ(writer.append("z.codes", base::DType::kU8, std::vector<int64_t>{2, 64}, codes_),
              base::xxh3(codes_));
    writer.append("a \"quoted\"\n\xc3\xa9", base::DType::kF32, std::vector<int64_t>{3}, scales_);
    writer.append("empty", base::DType::kI64, std::vector<int64_t>{0, 5}, {});
    EXPECT_FALSE(std::filesystem::exists(path_));
    writer.finish(writer.header({{"format", "test"}, {"text", "a\\b\n"}}));
  }
};

TEST_F(SafetensorsWriting, RoundTrip) {
  write();
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.metadata().at("format"), "test");
  EXPECT_EQ(file.metadata().at("text"), "a\\b\n");
  const TensorEntry* scales = file.find("a \"quoted\"\n\xc3\xa9");
  ASSERT_NE(scales, nullptr);
  EXPECT_EQ(scales->view.dtype, base::DType::kF32);
  EXPECT_EQ(scales->view.shape, (std::vector<int64_t>{3}));
  EXPECT_TRUE(std::ranges::equal(scales->view.bytes, scales_));
  EXPECT_EQ(file.find("empty")->view.shape, (std::vector<int64_t>{0, 5}));
  EXPECT_EQ(file.find("z"), nullptr);
  EXPECT_EQ(file.find("zz"), nullptr);
}

TEST_F(SafetensorsWriting, DataStartAlignedAndNothingIsLeftOver) {
  write();
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.tensors()[0].name, "z.codes");
  EXPECT_EQ(file.tensors()[0].offset % 64, 0u);
  EXPECT_EQ(file.tensors()[0].offset, SafetensorsWriter::data_offset(1000));
  EXPECT_EQ(file.file_bytes(), SafetensorsWriter::data_offset(1000) + 128 + 12);
  EXPECT_TRUE(file.header_text().ends_with("  "));
  EXPECT_EQ(file.header_text().size() + 8, file.tensors()[0].offset);
}

TEST_F(SafetensorsWriting, NothingAppearsWithoutFinish) {
  {
    SafetensorsWriter writer(path_, 1000);
    writer.append("codes", base::DType::kU8, std::vector<int64_t>{128}, codes_);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(SafetensorsWriting, HeaderThatOutgrowsItsRoomIsRefused) {
  SafetensorsWriter writer(path_, 100);
  EXPECT_THAT(error_of(
                  [&] {
                    (void)writer.header({{"text", std::string(200, 'x')}});
                  },
                  ErrorCode::kUsage),
              has_word("LIMIT"));
  EXPECT_THAT(error_of([&] { SafetensorsWriter(folder_ / "b", 100'000'001); }, ErrorCode::kUsage),
              has_word("LIMIT"));
}

TEST(SafetensorsFileTest, MisalignedTensorsOfOthersAreReadable) {
  TempFolder folder;
  write_text(folder / "odd.safetensors",
             container(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} )", "\0\0\x80?"));
  std::string odd = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  while (odd.size() % 2 == 0) odd.push_back(' ');
  write_text(folder / "odd.safetensors", container(odd, std::string("\0\0\x80?", 4)));
  const SafetensorsFile file(folder / "odd.safetensors");
  EXPECT_EQ(file.tensors()[0].offset % 2, 1u);
  float value = 0;
  base::to_float(file.tensors()[0].view, 0, 1, &value);
  EXPECT_EQ(value, 1.0f);
}

TEST(SafetensorsFileTest, PathsThatAreNoFiles) {
  TempFolder folder;
  EXPECT_THAT(error_of([&] { SafetensorsFile(folder / "none"); }, ErrorCode::kUsage),
              HasSubstr("no such file"));
  EXPECT_THAT(error_of([&] { SafetensorsFile file(folder.path()); }), has_word("KIND"));
}

}  // namespace
}  // namespace upg::format
