#include "format/upg_file.h"

#include <sys/wait.h>

#include <csignal>

#include "base/file.h"
#include "format/test_support.h"

namespace upg::format {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::byte> filled(size_t count, uint8_t value) {
  return bytes_of(std::vector<uint8_t>(count, value));
}

MatrixRecord path_record(const std::string& name, int64_t rows, int64_t cols) {
  return {name, "path3", 1, rows, cols, "signs.0", name, "BF16"};
}

// A bit of a file turned over for as long as this lives.
class FlippedBit {
 public:
  FlippedBit(const std::filesystem::path& path, size_t at, size_t bit)
      : file_(path, std::ios::binary | std::ios::in | std::ios::out), at_(at), bit_(bit) {
    flip();
  }
  ~FlippedBit() { flip(); }
  FlippedBit(const FlippedBit&) = delete;
  FlippedBit& operator=(const FlippedBit&) = delete;

 private:
  void flip() {
    file_.seekg(static_cast<std::streamoff>(at_));
    const int byte = file_.get();
    file_.seekp(static_cast<std::streamoff>(at_));
    file_.put(static_cast<char>(byte ^ (1 << bit_)));
    file_.flush();
  }
  std::fstream file_;
  size_t at_;
  size_t bit_;
};

class UpgFileTest : public testing::Test {
 protected:
  // Two matrices, a norm, a text; one part of an odd length.
  UpgInfo write(std::string_view quality = "") {
    UpgInfo info;
    info.version = "3.0";
    info.profile = "10x";
    info.config = "{\"hidden_size\": 128, \"text\": \"a\\\\b \xc3\xa9\"}";
    info.generation_config = "{\"temperature\": 0.8}";
    info.chat_template = "{% for m in messages %}\n\"{{ m }}\"";
    info.compression = "{\"profile\":\"10x\"}";
    info.quality = quality;
    info.matrices = {path_record("z.weight", 32, 100),
                     {"head", "sparse", 1, 4, 128, "", "", "F32"}};
    const std::vector<std::string> names = {"z.weight.codes", "z.weight.scale", "head.codes",
                                            "signs.0",        "norm",           "tokenizer.json"};
    UpgWriter writer(path_, estimate_header(info, names));
    writer.reserve(1 << 20);
    writer.add_codes("z.weight.codes", base::DType::kU8, std::vector<int64_t>{8, 1, 192},
                     filled(1536, 3));
    writer.add_small("signs.0", base::DType::kU8, std::vector<int64_t>{16}, filled(16, 0x55));
    writer.add_codes("head.codes", base::DType::kU8, std::vector<int64_t>{77}, filled(77, 9));
    writer.add_small("z.weight.scale", base::DType::kF32, std::vector<int64_t>{32},
                     bytes_of(std::vector<float>(32, 0.25f)));
    writer.add_codes("head.masks", base::DType::kU8, std::vector<int64_t>{128}, filled(128, 1));
    writer.add_small("head.offsets", base::DType::kU16, std::vector<int64_t>{1}, filled(2, 0));
    writer.add_small("norm", base::DType::kF32, std::vector<int64_t>{1},
                     bytes_of(std::vector<float>{1.5f}));
    writer.add_small("tokenizer.json", base::DType::kU8, std::vector<int64_t>{2},
                     bytes_of(std::vector<char>{'{', '}'}));
    EXPECT_EQ(writer.data_bytes(), 1536u + 16 + 77 + 128 + 128 + 2 + 4 + 2);
    writer.finish(info);
    return info;
  }

  // Writes metadata and tensors by hand, its header sealed as a writer would.
  void write_raw(const std::map<std::string, std::string, std::less<>>& metadata) {
    SafetensorsWriter writer(path_, 8192);
    std::string sums = "{\"w\":\"";
    sums += base::hex64(writer.append("w", base::DType::kF32, std::vector<int64_t>{2},
                                      bytes_of(std::vector<float>{1, 2}))) +
            "\"}";
    auto fields = metadata;
    fields.try_emplace("checksums", sums);
    fields.try_emplace("header_checksum", "0000000000000000");
    std::string header = writer.header(fields);
    const size_t digits = header.find("\"header_checksum\":\"") + 19;
    if (fields["header_checksum"].size() == 16) {
      header.replace(digits, 16, base::hex64(base::xxh3(as_bytes(header))));
    }
    writer.finish(header);
  }
  std::map<std::string, std::string, std::less<>> good() const {
    return {{"format", "upg"},
            {"version", "3.0"},
            {"matrices", R"({"w":{"codec":"raw","codec_version":1,"rows":1,"cols":2}})"}};
  }
  std::string error(ErrorCode code = ErrorCode::kInvalidData) {
    return error_of([&] { UpgFile file(path_); }, code);
  }
  std::string error_with(std::string_view key, std::string_view value,
                         ErrorCode code = ErrorCode::kInvalidData) {
    auto metadata = good();
    metadata[std::string(key)] = value;
    write_raw(metadata);
    return error(code);
  }

  TempFolder folder_;
  std::filesystem::path path_ = folder_ / "a.upg";
};

TEST_F(UpgFileTest, RoundTrip) {
  const UpgInfo info = write("{\"kl\":0.1}");
  const UpgFile file(path_);
  EXPECT_EQ(file.info().version, "3.0");
  EXPECT_EQ(file.info().profile, info.profile);
  EXPECT_EQ(file.info().config, info.config);
  EXPECT_EQ(file.info().generation_config, info.generation_config);
  EXPECT_EQ(file.info().chat_template, info.chat_template);
  EXPECT_EQ(file.info().compression, info.compression);
  EXPECT_EQ(file.info().quality, "{\"kl\":0.1}");
  ASSERT_EQ(file.info().matrices.size(), 2u);
  EXPECT_EQ(file.info().matrices[0].name, "z.weight");  // in the writer's order
  const MatrixRecord* matrix = file.find_matrix("z.weight");
  ASSERT_NE(matrix, nullptr);
  EXPECT_EQ(matrix->codec, "path3");
  EXPECT_EQ(matrix->rows, 32);
  EXPECT_EQ(matrix->cols, 100);
  EXPECT_EQ(matrix->signs, "signs.0");
  EXPECT_EQ(matrix->source_dtype, "BF16");
  EXPECT_EQ(file.part(*matrix, "codes")->shape, (std::vector<int64_t>{8, 1, 192}));
  EXPECT_EQ(file.part(*matrix, "scale")->data<float>()[31], 0.25f);
  EXPECT_EQ(file.part(*matrix, "none"), nullptr);
  EXPECT_EQ(file.part(*matrix, ""), nullptr);
  EXPECT_EQ(file.find_matrix("norm"), nullptr);
  EXPECT_EQ(file.find_tensor("norm")->data<float>()[0], 1.5f);
  EXPECT_EQ(file.text("tokenizer.json"), "{}");
  EXPECT_EQ(file.text("norm"), "");
  EXPECT_EQ(file.text("none"), "");
}

TEST_F(UpgFileTest, LaidOutForKernels) {
  write();
  EXPECT_THAT(
      std::vector<std::filesystem::path>(std::filesystem::directory_iterator(folder_.path()), {}),
      ElementsAre(path_));
  const UpgFile file(path_);
  std::vector<std::string> names;
  for (const TensorEntry& tensor : file.container().tensors()) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("z.weight.codes", "head.masks", "z.weight.scale", "norm",
                                 "head.offsets", "signs.0", "head.codes", "tokenizer.json"));
  EXPECT_EQ(file.container().tensors()[0].offset % 64, 0u);
  EXPECT_EQ(file.container().tensors()[1].offset % 64, 0u);
  const std::string_view header = file.container().header_text();
  EXPECT_GE(header.size() - header.find_last_not_of(' '), size_t{64} << 10);  // the slack
  EXPECT_EQ(header.find("\"format\":\"upg\""), 4096u - 8);
}

TEST_F(UpgFileTest, SizeIsKnownBefore) {
  write();
  const UpgFile file(path_);
  uint64_t data = 0;
  for (const TensorEntry& tensor : file.container().tensors()) data += tensor.view.bytes.size();
  const uint64_t header = file.container().tensors()[0].offset;
  EXPECT_EQ(file.container().file_bytes(), header + data);
  EXPECT_EQ(UpgWriter::file_bytes(1000, 77) - UpgWriter::file_bytes(1000, 0), 77u);
}

TEST_F(UpgFileTest, VerifyFindsEveryFlippedBit) {
  write();
  EXPECT_THAT(UpgFile(path_).verify({}), IsEmpty());
  uint64_t total = 0;
  uint64_t last = 0;
  EXPECT_THAT(UpgFile(path_).verify([&](uint64_t done, uint64_t all) {
    EXPECT_GE(done, last);
    last = done;
    total = all;
  }),
              IsEmpty());
  EXPECT_EQ(last, total);
  const size_t size = std::filesystem::file_size(path_);
  const size_t data = UpgFile(path_).container().tensors()[0].offset;
  for (size_t at = data; at < size; at += 7) {
    const FlippedBit flipped(path_, at, at % 8);
    const std::vector<std::string> errors = UpgFile(path_).verify({});
    ASSERT_EQ(errors.size(), 1u) << at;
    EXPECT_THAT(errors[0], has_word("SUM"));
  }
}

TEST_F(UpgFileTest, EveryFlippedHeaderByteIsFoundAtOpening) {
  write();
  const size_t data = UpgFile(path_).container().tensors()[0].offset;
  for (size_t at = 0; at < data; at += at < 8 ? 1 : at < 8192 ? 61 : 1013) {
    const FlippedBit flipped(path_, at, at % 7);
    EXPECT_THROW(UpgFile{path_}, Error) << at;
  }
}

TEST_F(UpgFileTest, ProgressMayStop) {
  write();
  EXPECT_THAT(error_of(
                  [&] {
                    UpgFile(path_).verify(
                        [](uint64_t, uint64_t) { throw Error(ErrorCode::kCancelled, "stopped"); });
                  },
                  ErrorCode::kCancelled),
              HasSubstr("stopped"));
}

TEST_F(UpgFileTest, Versions) {  // CT-01
  write_raw(good());
  EXPECT_EQ(UpgFile(path_).info().matrices.size(), 1u);
  for (const char* version : {"0.0", "4.0", "-3.0", "3", "three", "", "3.", "03.0", "3.0.0"}) {
    EXPECT_THAT(error_with("version", version, ErrorCode::kUnsupported),
                AllOf(has_word("VERSION"), HasSubstr("this build reads 2.x and 3.x")));
  }
  auto minor = good();
  minor["version"] = "3.7";
  write_raw(minor);
  EXPECT_EQ(UpgFile(path_).info().version, "3.7");
  minor.erase("version");
  write_raw(minor);
  EXPECT_THAT(error(), has_word("KIND"));
  EXPECT_THAT(error_with("format", "pt"), has_word("FIELD"));
}

TEST_F(UpgFileTest, Checksums) {  // CT-33
  EXPECT_THAT(error_with("checksums", "{}"), AllOf(HasSubstr("\"w\""), has_word("SUM")));
  EXPECT_THAT(error_with("checksums", R"({"w":"123"})"), has_word("SUM"));
  EXPECT_THAT(error_with("checksums", R"({"w":"012345678901234X"})"), has_word("SUM"));
  EXPECT_THAT(error_with("checksums", R"({"w":"012345678901234F"})"), has_word("SUM"));
  EXPECT_THAT(error_with("checksums", R"({"w":5})"), has_word("SUM"));
  EXPECT_THAT(error_with("checksums", R"({"w":"0123456789012345","v":"0123456789012345"})"),
              AllOf(HasSubstr("\"v\""), has_word("SUM")));
  EXPECT_THAT(error_with("header_checksum", "1"), has_word("SUM"));
  auto metadata = good();
  metadata["checksums"] = R"({"w":"0123456789012345"})";
  write_raw(metadata);
  EXPECT_THAT(UpgFile(path_).verify({}), ElementsAre(AllOf(HasSubstr("w: "), has_word("SUM"))));
}

struct RecordCase {
  const char* word;
  const char* text;
};

TEST_F(UpgFileTest, Records) {
  const std::vector<RecordCase> cases = {
      {"FIELD", "[]"},
      {"FIELD", R"({"w":1})"},
      {"FIELD", R"({"w":{"codec":"raw","codec_version":1,"rows":1}})"},
      {"FIELD", R"({"w":{"codec":1,"codec_version":1,"rows":1,"cols":2}})"},
      {"FIELD", R"({"w":{"codec":"","codec_version":1,"rows":1,"cols":2}})"},
      {"FIELD", R"({"w":{"codec":"raw","codec_version":0,"rows":1,"cols":2}})"},
      {"FIELD", R"({"w":{"codec":"raw","codec_version":1,"rows":0,"cols":2}})"},
      {"FIELD", R"({"w":{"codec":"raw","codec_version":1,"rows":-1,"cols":2}})"},
      {"FIELD", R"({"w":{"codec":"raw","codec_version":1,"rows":1.0,"cols":2}})"},
      {"FIELD", R"({"w":{"codec":"raw","codec_version":1,"rows":2147483648,"cols":2}})"},
      {"FIELD", R"({"w":{"codec":"raw","codec_version":1,"rows":1,"cols":2,"source_dtype":"I8"}})"},
      {"FIELD", R"({"w":{"codec":"raw","codec_version":1,"rows":1,"cols":2,"params":[]}})"},
      {"FIELD", R"({"":{"codec":"raw","codec_version":1,"rows":1,"cols":2}})"},
      {"FIELD", R"({"a\nb":{"codec":"raw","codec_version":1,"rows":1,"cols":2}})"},
      {"DUP", R"({"w":{"codec":"raw","codec":"raw","codec_version":1,"rows":1,"cols":2}})"},
      {"DUP",
       R"({"w":{"codec":"raw","codec_version":1,"rows":1,"cols":2},"w":{"codec":"raw","codec_version":1,"rows":1,"cols":2}})"},
      {"MISSING", R"({"v":{"codec":"raw","codec_version":1,"rows":1,"cols":2}})"},
      {"MISSING",
       R"({"w":{"codec":"raw","codec_version":1,"rows":1,"cols":2,"params":{"signs":"s"}}})"},
      {"SHAPE",
       R"({"w":{"codec":"raw","codec_version":1,"rows":1,"cols":2,"params":{"signs":"w"}}})"},
      {"MISMATCH", R"({"w":{"codec":"raw","codec_version":1,"rows":1048576,"cols":1048576}})"},
      {"JSON", R"({"w":{"codec":"raw","codec_version":1,"rows":1,"cols":2}} x)"},
      {"LIMIT", R"({"w":{"later":[[[[[[[[[[1]]]]]]]]]]}})"}};
  for (const RecordCase& row : cases) {
    EXPECT_THAT(error_with("matrices", row.text), has_word(row.word)) << row.text;
  }
  EXPECT_THAT(error_with("matrices", join("{\"", std::string(1100, 'n'), "\":{}}")),
              has_word("FIELD"));
}

TEST_F(UpgFileTest, LaterFieldsAndStemsAreUnderstood) {
  auto metadata = good();
  metadata["later"] = "x";
  metadata["matrices"] = R"({"m":{"codec":"raw","codec_version":9,"rows":1,"cols":2,"stem":"w",)"
                         R"("later":[1,{"a":null}],"params":{"later":1.5}}})";
  write_raw(metadata);
  const UpgFile file(path_);
  EXPECT_EQ(file.find_matrix("m")->codec_version, 9);
  EXPECT_NE(file.part(*file.find_matrix("m"), ""), nullptr);
}

TEST_F(UpgFileTest, MisalignedTensorsAreRefused) {  // ST-33
  SafetensorsWriter writer(path_, 8192);
  writer.append("x", base::DType::kU8, std::vector<int64_t>{1}, filled(1, 1));
  writer.append("w", base::DType::kF32, std::vector<int64_t>{1}, filled(4, 1));
  auto metadata = good();
  metadata["header_checksum"] = "0000000000000000";
  std::string header = writer.header(metadata);
  header.replace(header.find("\"header_checksum\":\"") + 19, 16,
                 base::hex64(base::xxh3(as_bytes(header))));
  writer.finish(header);
  EXPECT_THAT(error(), AllOf(HasSubstr("\"w\""), has_word("ALIGN")));
}

TEST_F(UpgFileTest, QualityIsReplacedInPlace) {
  write("{\"kl\":0.25}");
  const std::string before = read_text(path_);
  write_quality(path_, "{\"kl\":0.125,\"text\":\"books\"}");
  EXPECT_EQ(UpgFile(path_).info().quality, "{\"kl\":0.125,\"text\":\"books\"}");
  const std::string after = read_text(path_);
  ASSERT_EQ(before.size(), after.size());
  // All that changed lies in one sector: no crash can leave half of it.
  EXPECT_EQ(before.substr(512), after.substr(512));
  EXPECT_THAT(UpgFile(path_).verify({}), IsEmpty());
  write_quality(path_, "{\"kl\":0.25}");
  EXPECT_EQ(read_text(path_), before);
  write_quality(path_, join("\"", std::string(4000, 'x'), "\""));
  EXPECT_EQ(read_text(path_).substr(4096), before.substr(4096));
  write_quality(path_, "");
  EXPECT_EQ(UpgFile(path_).info().quality, "");
}

TEST_F(UpgFileTest, QualityThatCannotBeWritten) {
  write("{\"kl\":0.25}");
  const std::string before = read_text(path_);
  EXPECT_THAT(error_of([&] { write_quality(path_, join("\"", std::string(4100, 'x'), "\"")); },
                       ErrorCode::kUsage),
              has_word("LIMIT"));
  EXPECT_THAT(error_of([&] { write_quality(path_, "{"); }), has_word("JSON"));
  EXPECT_EQ(read_text(path_), before);
  write_raw(good());  // somebody else's layout
  EXPECT_THAT(error_of([&] { write_quality(path_, "{}"); }), has_word("FIELD"));
  EXPECT_THAT(error_of([&] { write_quality(folder_ / "none", "{}"); }, ErrorCode::kIo),
              has_word("IO"));
}

// A process that writes one text and another all the time, killed at any moment: the file always
// opens, with one of the two.
TEST_F(UpgFileTest, QualitySurvivesKills) {
  const std::string one = join("\"", std::string(2000, '1'), "\"");
  const std::string two = join("\"", std::string(2500, '2'), "\"");
  write(one);
  for (int round = 0; round < 25; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      while (true) {
        write_quality(path_, two);
        write_quality(path_, one);
      }
    }
    ::usleep(static_cast<useconds_t>(1000 + 1777 * round));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_THAT(UpgFile(path_).info().quality, testing::AnyOf(one, two));
  }
}

}  // namespace
}  // namespace upg::format
