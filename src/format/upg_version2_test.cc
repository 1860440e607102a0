#include "base/file.h"
#include "format/test_support.h"
#include "format/upg_file.h"

namespace upg::format {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

// The parts of a 2 x 16 matrix with `nnz` non-zeros in its first row.
struct Parts {
  std::vector<std::byte> pointers;
  std::vector<std::byte> scales = bytes_of(std::vector<float>{0.5f, 0.25f});
  std::vector<std::byte> primes;
  std::vector<std::byte> values;
  std::vector<std::byte> deltas;
  explicit Parts(uint32_t nnz)
      : pointers(bytes_of(std::vector<uint32_t>{0, nnz, nnz})),
        primes(bytes_of(std::vector<uint16_t>(nnz, 9999))),
        values(bytes_of(std::vector<int8_t>(nnz, -127))),
        deltas(bytes_of(std::vector<uint8_t>(nnz, 1))) {}
};

class Version2Test : public testing::Test {
 protected:
  static std::string name(int layer, std::string_view part) {
    return join("layer_", std::to_string(layer), "_", part);
  }

  // As somebody else's tool would write it: no records, no checksums, any order.
  void write_foreign(std::map<std::string, std::string, std::less<>> metadata,
                     std::string_view left_out = "", int layers = 2) {
    SafetensorsWriter writer(path_, 4096);
    const auto put = [&](const std::string& tensor, base::DType dtype, int64_t count,
                         const std::vector<std::byte>& bytes) {
      if (tensor != left_out) writer.append(tensor, dtype, std::vector<int64_t>{count}, bytes);
    };
    for (int layer = 0; layer < layers; ++layer) {
      const auto nnz = 3 + 2 * static_cast<int64_t>(layer);
      const Parts parts(static_cast<uint32_t>(nnz));
      put(name(layer, "values"), base::DType::kI8, nnz, parts.values);
      put(name(layer, "delta_indices"), base::DType::kU8, nnz, parts.deltas);
      put(name(layer, "row_pointers"), base::DType::kU32, 3, parts.pointers);
      put(name(layer, "prime_indices"), base::DType::kU16, nnz, parts.primes);
      put(name(layer, "scales"), base::DType::kF32, 2, parts.scales);
    }
    writer.finish(writer.header(metadata));
  }

  UpgInfo own_info() const {
    UpgInfo info;
    info.version = "2.0";
    info.profile = "mdcsr";
    info.config = "{\"model_type\":\"phi3\"}";
    info.matrices = {{"a.weight", "mdcsr", 1, 2, 16, "", "layer_0", "BF16"},
                     {"embed", "raw", 1, 3, 1, "", "embed", "F16"},
                     {"b.weight", "mdcsr", 1, 2, 16, "", "layer_1", "BF16"}};
    return info;
  }

  // `version`: what the writer is told beforehand; without, large parts wait for the end.
  void write_own(std::string_view version) {
    const UpgInfo info = own_info();
    UpgWriter writer(path_, estimate_header(info, {}) + 4096, version);
    for (int layer = 0; layer < 2; ++layer) {
      const auto nnz = 3 + 2 * static_cast<int64_t>(layer);
      const Parts parts(static_cast<uint32_t>(nnz));
      const auto put = [&](std::string_view part, base::DType dtype, int64_t count,
                           const std::vector<std::byte>& bytes) {
        writer.add_codes(name(layer, part), dtype, std::vector<int64_t>{count}, bytes);
      };
      put("row_pointers", base::DType::kU32, 3, parts.pointers);
      put("scales", base::DType::kF32, 2, parts.scales);
      put("prime_indices", base::DType::kU16, nnz, parts.primes);
      put("values", base::DType::kI8, nnz, parts.values);
      put("delta_indices", base::DType::kU8, nnz, parts.deltas);
      if (layer == 0) {  // leaves the end at an odd half word
        writer.add_codes("embed", base::DType::kF16, std::vector<int64_t>{3, 1},
                         bytes_of(std::vector<uint16_t>{1, 2, 3}));
      }
    }
    writer.add_small("norm", base::DType::kF32, std::vector<int64_t>{1},
                     bytes_of(std::vector<float>{1.5f}));
    writer.finish(info);
  }

  void expect_own() {
    const UpgFile file(path_);
    EXPECT_EQ(file.info().version, "2.0");
    ASSERT_EQ(file.info().matrices.size(), 3u);
    const MatrixRecord* matrix = file.find_matrix("b.weight");
    ASSERT_NE(matrix, nullptr);
    EXPECT_EQ(matrix->stem, "layer_1");
    EXPECT_EQ(matrix->cols, 16);
    EXPECT_EQ(file.part(*matrix, "row_pointers")->data<uint32_t>()[2], 5u);
    EXPECT_EQ(file.part(*matrix, "prime_indices")->data<uint16_t>()[4], 9999);
    EXPECT_EQ(file.part(*file.find_matrix("embed"), "")->data<uint16_t>()[2], 3);
    EXPECT_EQ(file.find_tensor("norm")->data<float>()[0], 1.5f);
    EXPECT_EQ(file.container().metadata().at("num_layers"), "2");
    EXPECT_EQ(file.container().metadata().at("model"), "phi3");
    EXPECT_GT(std::stod(file.container().metadata().at("compression_ratio")), 0.5);
    EXPECT_THAT(file.verify({}), IsEmpty());
    EXPECT_TRUE(file.has_checksums());
  }

  std::string error() {
    return error_of([&] { UpgFile file(path_); });
  }

  TempFolder folder_;
  std::filesystem::path path_ = folder_ / "a.upg";
};

TEST_F(Version2Test, ForeignFileIsRead) {
  write_foreign({{"version", "2.0"}, {"num_layers", "2"}, {"model", "x"}});
  const UpgFile file(path_);
  ASSERT_EQ(file.info().matrices.size(), 2u);
  EXPECT_EQ(file.info().config, "");
  const MatrixRecord& matrix = file.info().matrices[1];
  EXPECT_EQ(matrix.name, "layer_1");
  EXPECT_EQ(matrix.codec, "mdcsr");
  EXPECT_EQ(matrix.rows, 2);
  EXPECT_EQ(matrix.cols, 0);  // unknown
  EXPECT_FALSE(file.has_checksums());
  EXPECT_THAT(file.verify({}), IsEmpty());
}

TEST_F(Version2Test, MisalignedPartsAreCopied) {
  write_foreign({{"version", "2.0"}});
  UpgFile moved_from(path_);
  const UpgFile file(std::move(moved_from));
  int copied = 0;
  for (const MatrixRecord& matrix : file.info().matrices) {
    for (const char* part :
         {"values", "delta_indices", "row_pointers", "prime_indices", "scales"}) {
      const base::TensorView* view = file.part(matrix, part);
      ASSERT_NE(view, nullptr);
      const auto address = reinterpret_cast<uintptr_t>(view->bytes.data());
      EXPECT_EQ(address % base::size_of(view->dtype), 0u);
      const TensorEntry* stored = file.container().find(join(matrix.stem, "_", part));
      EXPECT_TRUE(std::ranges::equal(stored->view.bytes, view->bytes));
      copied += stored->view.bytes.data() != view->bytes.data();
    }
  }
  EXPECT_GT(copied, 0);
}

TEST_F(Version2Test, ForeignFilesThatLackThings) {
  for (const char* part : {"values", "delta_indices", "prime_indices", "scales"}) {
    write_foreign({{"version", "2.0"}}, name(1, part));
    EXPECT_THAT(error(), AllOf(HasSubstr(name(1, part)), HasSubstr("(MISSING)")));
  }
  write_foreign({{"version", "2.0"}, {"num_layers", "3"}});
  EXPECT_THAT(error(), AllOf(HasSubstr("layer_2_"), has_word("MISSING")));
  write_foreign({{"version", "2.0"}, {"num_layers", "1"}});
  EXPECT_THAT(error(), has_word("MISMATCH"));
  write_foreign({{"version", "2.0"}, {"num_layers", "-1"}});
  EXPECT_THAT(error(), has_word("FIELD"));
  write_foreign({{"version", "2.0"}, {"num_layers", "99999999999999999999"}});
  EXPECT_THAT(error(), has_word("FIELD"));
  write_foreign({{"version", "2.0"}}, "", 0);
  EXPECT_THAT(error(), has_word("MISSING"));
}

TEST_F(Version2Test, OwnFileWrittenAtOnce) {
  write_own("2.0");
  expect_own();
}

TEST_F(Version2Test, OwnFileWrittenInTheEnd) {
  write_own("3.0");
  expect_own();
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(Version2Test, OwnOrderIsAligned) {
  write_own("3.0");
  const UpgFile file(path_);
  for (const TensorEntry& tensor : file.container().tensors()) {
    EXPECT_EQ(tensor.offset % base::size_of(tensor.view.dtype), 0u) << tensor.name;
  }
}

}  // namespace
}  // namespace upg::format
