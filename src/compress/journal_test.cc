// Jobs that are stopped and go on: the same bytes as without a stop, and every reason not to.
#include "compress/journal.h"

#include <gtest/gtest.h>

#include <bit>

#include "compress/compress_testing.h"
#include "upg/compress.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

const std::vector<std::pair<std::string, std::string>> kFixed = {{"*.layers.*", "path3"}};
constexpr int kCalibrated = 9;  // matrices of the checkpoint: 4 a layer, and the head

class JournalTest : public testing::Test {
 protected:
  JournalTest() {
    checkpoint_.tokenizer = true;
    checkpoint_.write(source());
    write_bytes(folder_ / "text", tiny_text());
    options_.calibrate = (folder_ / "text").native();
    options_.calibration_windows = 4;
    options_.tensor_codecs = kFixed;
    options_.threads = 2;
    options_.note = [this](std::string_view line) { notes_ += std::string(line) + "\n"; };
  }

  std::filesystem::path source() const { return folder_ / "source"; }
  std::filesystem::path output() const { return folder_ / "out.upg"; }
  std::filesystem::path journal() const { return folder_ / "out.upg.journal"; }

  // The file of a run that nothing stopped.
  const std::string& whole() {
    if (whole_.empty()) {
      compress(source(), folder_ / "whole.upg", options_);
      whole_ = read_bytes(folder_ / "whole.upg");
    }
    return whole_;
  }

  // Runs until so many matrices lie in the journal, then stops. Returns the error.
  std::string stopped_after(int matrices) {
    return error([&] {
      compress(source(), output(), options_, [&](const Progress&) { return entries() < matrices; });
    });
  }

  int entries() const {
    if (!std::filesystem::exists(journal())) return 0;
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(journal())) {
      count += entry.path().extension() == ".matrix" ? 1 : 0;
    }
    return count;
  }

  // The error of going on, "" when it went well.
  std::string resume() {
    options_.resume = true;
    const std::string message = error([&] { result_ = compress(source(), output(), options_); });
    options_.resume = false;
    return message;
  }

  template <class Action>
  static std::string error(const Action& action) {
    try {
      action();
    } catch (const Error& found) {
      EXPECT_EQ(std::string_view(found.what()).find('\n'), std::string_view::npos);
      return found.what();
    }
    return "";
  }

  static bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  }

  TempFolder folder_;
  TinyCheckpoint checkpoint_;
  CompressOptions options_;
  CompressResult result_;
  std::string notes_;
  std::string whole_;
};

TEST_F(JournalTest, GoesOnToTheSameBytes) {
  whole();
  for (const int matrices : {1, 5, kCalibrated}) {
    const std::string message = stopped_after(matrices);
    EXPECT_TRUE(has(message, "--resume goes on")) << message;
    EXPECT_TRUE(has(message, "out.upg.journal")) << message;
    EXPECT_FALSE(std::filesystem::exists(output()));
    options_.threads = 1 + matrices % 3;  // they do not matter
    EXPECT_EQ(resume(), "");
    EXPECT_EQ(result_.resumed_matrices, matrices);
    EXPECT_TRUE(read_bytes(output()) == whole()) << matrices;
    EXPECT_FALSE(std::filesystem::exists(journal()));
    std::filesystem::remove(output());
  }
}

TEST_F(JournalTest, TakesOverTheCodecsThatWereChosen) {
  options_.tensor_codecs.clear();
  whole();
  EXPECT_NE(stopped_after(3), "");
  std::string seen;
  options_.resume = true;
  compress(source(), output(), options_, [&seen](const Progress& progress) {
    seen += std::string(progress.tensor) + "\n";
    return true;
  });
  EXPECT_FALSE(has(seen, "ensitivit")) << seen;  // not measured again
  EXPECT_TRUE(read_bytes(output()) == whole());
}

TEST_F(JournalTest, GoesOnMoreThanOnce) {
  EXPECT_NE(stopped_after(2), "");
  options_.resume = true;
  EXPECT_NE(stopped_after(5), "");
  EXPECT_EQ(entries(), 5);
  EXPECT_EQ(resume(), "");
  EXPECT_EQ(result_.resumed_matrices, 5);
  EXPECT_TRUE(read_bytes(output()) == whole());
}

TEST_F(JournalTest, GoesOnAtALayer) {
  options_.keep_streams_seconds = 0;
  EXPECT_NE(stopped_after(6), "");  // two of the second layer's
  EXPECT_TRUE(std::filesystem::exists(journal() / "streams-00001.layer"));
  EXPECT_EQ(resume(), "");
  EXPECT_TRUE(has(notes_, "6 finished matrices, at layer 1")) << notes_;
  EXPECT_TRUE(read_bytes(output()) == whole());
  std::filesystem::remove(output());
  EXPECT_NE(stopped_after(kCalibrated), "");  // the head too, behind the last layer
  EXPECT_EQ(resume(), "");
  EXPECT_TRUE(has(notes_, "9 finished matrices, at layer 2")) << notes_;
  EXPECT_TRUE(read_bytes(output()) == whole());
}

TEST_F(JournalTest, DamagedActivationsAreComputedAgain) {
  options_.keep_streams_seconds = 0;
  const auto file = journal() / "streams-00001.layer";
  const auto resumed_with = [&](const std::function<void(std::string&)>& damage) {
    notes_.clear();
    std::filesystem::remove(output());
    EXPECT_NE(stopped_after(6), "");
    std::string bytes = read_bytes(file);
    damage(bytes);
    write_bytes(file, bytes);
    EXPECT_EQ(resume(), "");
    EXPECT_TRUE(has(notes_, "running the text again")) << notes_;
    EXPECT_TRUE(read_bytes(output()) == whole());
  };
  resumed_with([](std::string& bytes) { bytes.back() = static_cast<char>(bytes.back() ^ 1); });
  resumed_with([](std::string& bytes) { bytes.resize(bytes.size() / 2); });
}

TEST_F(JournalTest, ActivationsOfADamagedLayerAreNotUsed) {
  options_.keep_streams_seconds = 0;
  EXPECT_NE(stopped_after(6), "");
  for (const auto& entry : std::filesystem::directory_iterator(journal())) {
    if (entry.path().filename() == "00002.matrix") write_bytes(entry.path(), "");
  }
  EXPECT_EQ(resume(), "");
  EXPECT_TRUE(has(notes_, "at layer 0")) << notes_;
  EXPECT_TRUE(read_bytes(output()) == whole());
}

TEST_F(JournalTest, FinishedWorkIsGivenUpOnlyOnRequest) {
  EXPECT_NE(stopped_after(2), "");
  const std::string message = error([&] { compress(source(), output(), options_); });
  EXPECT_TRUE(has(message, "holds 2 finished matrices")) << message;
  EXPECT_TRUE(has(message, "--resume") && has(message, "--force")) << message;
  EXPECT_EQ(entries(), 2);
  options_.force = true;
  compress(source(), output(), options_);
  EXPECT_TRUE(read_bytes(output()) == whole());
  EXPECT_FALSE(std::filesystem::exists(journal()));
}

TEST_F(JournalTest, WithoutAJournalItStartsAfresh) {
  EXPECT_EQ(resume(), "");
  EXPECT_TRUE(has(notes_, "nothing to resume")) << notes_;
  EXPECT_EQ(result_.resumed_matrices, 0);
  EXPECT_TRUE(read_bytes(output()) == whole());
}

TEST_F(JournalTest, NothingRemainsOfAJobThatFinishedNothing) {
  EXPECT_NE(
      error([&] { compress(source(), output(), options_, [](const Progress&) { return false; }); }),
      "");
  EXPECT_EQ(folder_.entries(), (std::vector<std::string>{"source", "text"}));
}

TEST_F(JournalTest, NamesTheOptionThatChanged) {
  EXPECT_NE(stopped_after(2), "");
  const CompressOptions before = options_;
  const auto refused = [&](std::string_view what) {
    const std::string message = resume();
    EXPECT_TRUE(has(message, what)) << message;
    EXPECT_TRUE(has(message, "allowed is") && has(message, "--force")) << message;
    EXPECT_EQ(entries(), 2);
    options_ = before;
  };
  options_.calibration_windows = 5;
  refused("--calibration-windows: found 5 of 128 tokens, allowed is 4 of 128 tokens");
  options_.tensor_codecs = {{"*.layers.*", "path2"}};
  refused("option tensor_codecs: found [[\"*.layers.*\",\"path2\"]], allowed is [[\"*.layers.*\",");
  write_bytes(folder_ / "text", tiny_text() + "more");
  refused("--calibrate");
  write_bytes(folder_ / "text", tiny_text());
  options_.calibrate = kNoCalibration;
  refused("--calibrate: found none");
  EXPECT_EQ(resume(), "");
}

TEST_F(JournalTest, NamesTheTensorThatChanged) {
  EXPECT_NE(stopped_after(2), "");
  constexpr const char* kChanged = "model.layers.1.mlp.down_proj.weight";  // not reached yet
  checkpoint_.edit = [](const model::TensorSpec& spec, std::vector<float>& values) {
    if (spec.name == kChanged) values[5] += 1;
    return true;
  };
  checkpoint_.write(source());
  const std::string message = resume();
  EXPECT_TRUE(has(message, kChanged)) << message;
  EXPECT_FALSE(has(message, "q_proj")) << message;
  EXPECT_TRUE(has(message, "checksum")) << message;
}

TEST_F(JournalTest, ADamagedMatrixIsCodedAgain) {
  whole();
  EXPECT_NE(stopped_after(4), "");
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(journal())) {
    if (entry.path().extension() == ".matrix") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::string bytes = read_bytes(files[1]);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_bytes(files[1], bytes);
  write_bytes(files[2], read_bytes(files[2]).substr(0, 1000));
  std::filesystem::copy_file(files[0], files[3], std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(resume(), "");
  EXPECT_EQ(result_.resumed_matrices, 1);
  for (int i = 1; i < 4; ++i) {
    EXPECT_TRUE(has(notes_, files[static_cast<size_t>(i)].filename().native())) << notes_;
  }
  EXPECT_TRUE(read_bytes(output()) == whole());
}

TEST_F(JournalTest, ADamagedJobIsRefused) {
  EXPECT_NE(stopped_after(1), "");
  write_bytes(journal() / "job.json", "{\"upg\": ");
  const std::string message = resume();
  EXPECT_TRUE(has(message, "job.json") && has(message, "--force")) << message;
}

TEST_F(JournalTest, LeavesAloneWhatIsNoJournal) {
  std::filesystem::create_directory(journal());
  write_bytes(journal() / "letters.txt", "dear");
  options_.force = true;
  const std::string message = error([&] { compress(source(), output(), options_); });
  EXPECT_TRUE(has(message, "letters.txt")) << message;
  EXPECT_EQ(read_bytes(journal() / "letters.txt"), "dear");
}

TEST_F(JournalTest, OneProcessAtATime) {
  const Journal first(output(), {{"a", "b"}}, false);
  const std::string message = error([&] { Journal::find(output()); });
  EXPECT_TRUE(has(message, "another upg")) << message;
}

TEST(JournalEntry, KeepsAMatrixToTheBit) {
  const TempFolder folder;
  const auto output = folder / "out.upg";
  Journal journal(output, {{"field", "value"}}, false);
  std::vector<codec::Part> parts(2);
  parts[0].spec = {"codes", base::DType::kU8, {3, 5}};
  parts[0].bytes.assign(15, std::byte{7});
  parts[1].spec = {"scale", base::DType::kF32, {2}};
  parts[1].bytes.assign(8, std::byte{1});
  EncodedMatrix matrix(std::move(parts));
  matrix.sums = {0.1, 1e300};
  matrix.loss = 5e-324;
  matrix.power = -0.0;
  journal.store(3, "a tensor", matrix);
  const auto damaged = [](std::string_view why) { ADD_FAILURE() << why; };
  EXPECT_FALSE(journal.load(2, "a tensor", damaged).has_value());
  const std::optional<EncodedMatrix> found = journal.load(3, "a tensor", damaged);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->sums.error, 0.1);
  EXPECT_EQ(found->sums.weight, 1e300);
  EXPECT_EQ(found->loss, 5e-324);
  EXPECT_EQ(std::bit_cast<uint64_t>(found->power), std::bit_cast<uint64_t>(-0.0));
  ASSERT_EQ(found->parts().size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(found->parts()[i].spec.suffix, matrix.parts()[i].spec.suffix);
    EXPECT_EQ(found->parts()[i].spec.shape, matrix.parts()[i].spec.shape);
    EXPECT_TRUE(std::ranges::equal(found->parts()[i].bytes, matrix.parts()[i].bytes));
  }
  std::string told;
  EXPECT_FALSE(journal.load(3, "another", [&](std::string_view why) { told = why; }).has_value());
  EXPECT_NE(told.find("a tensor"), std::string::npos) << told;
}

}  // namespace
}  // namespace upg::compression
