#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "upg/error.h"

namespace upg::base {
namespace {

using testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "upg-file-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FileTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  void write(const std::filesystem::path& path, std::string_view text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  static std::span<const std::byte> bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
  }
  template <class Body>
  static std::string error_of(ErrorCode code, Body&& body) {
    try {
      body();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    return "no error";
  }
  size_t files() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }

  std::filesystem::path folder_;
};

TEST_F(FileTest, MapsAFile) {
  write(folder_ / "a", "hello");
  MappedFile file(folder_ / "a");
  ASSERT_EQ(file.bytes().size(), 5u);
  EXPECT_EQ(std::memcmp(file.bytes().data(), "hello", 5), 0);
  const std::byte* address = file.bytes().data();
  const MappedFile moved(std::move(file));
  EXPECT_EQ(moved.bytes().data(), address);
  moved.release(moved.bytes());
  EXPECT_EQ(moved.bytes()[4], std::byte{'o'});
}

TEST_F(FileTest, MapsAnOpenDescriptor) {
  write(folder_ / "a", "hello");
  const int descriptor = ::open((folder_ / "a").c_str(), O_RDONLY | O_CLOEXEC);
  const MappedFile file(descriptor, "name");
  EXPECT_EQ(::close(descriptor), 0);
  EXPECT_EQ(file.path(), "name");
  EXPECT_EQ(file.bytes()[0], std::byte{'h'});
}

TEST_F(FileTest, EmptyFileHasNoBytes) {
  write(folder_ / "a", "");
  EXPECT_TRUE(MappedFile(folder_ / "a").bytes().empty());
  EXPECT_EQ(read_file(folder_ / "a", 10), "");
}

TEST_F(FileTest, PathsThatCannotBeRead) {
  EXPECT_THAT(error_of(ErrorCode::kUsage, [&] { MappedFile(folder_ / "none"); }),
              HasSubstr("no such file"));
  EXPECT_THAT(error_of(ErrorCode::kInvalidData, [&] { MappedFile file(folder_); }),
              HasSubstr("(KIND)"));
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of(ErrorCode::kInvalidData, [&] { read_file(folder_ / "pipe", 10); }),
              HasSubstr("(KIND)"));
  write(folder_ / "a", "hello");
  EXPECT_THAT(error_of(ErrorCode::kInvalidData, [&] { read_file(folder_ / "a", 4); }),
              HasSubstr("(LIMIT)"));
  EXPECT_EQ(read_file(folder_ / "a", 5), "hello");
}

TEST_F(FileTest, AtomicFileAppearsWhole) {
  write(folder_ / "a", "old");
  {
    AtomicFile file(folder_ / "a");
    file.reserve(100);
    file.write_at(3, bytes("lo"));
    file.write_at(0, bytes("hel"));
    std::array<std::byte, 5> back;
    file.read_at(0, back);
    EXPECT_EQ(std::memcmp(back.data(), "hello", 5), 0);
    file.truncate(5);
    EXPECT_EQ(read_file(folder_ / "a", 10), "old");
    file.commit();
  }
  EXPECT_EQ(read_file(folder_ / "a", 10), "hello");
  EXPECT_EQ(files(), 1u);
}

TEST_F(FileTest, AtomicFileLeavesNothingWithoutCommit) {
  { AtomicFile(folder_ / "a").write_at(0, bytes("hello")); }
  EXPECT_EQ(files(), 0u);
}

TEST_F(FileTest, AtomicFileRefusesBadTargets) {
  EXPECT_THAT(error_of(ErrorCode::kUsage, [&] { AtomicFile file(folder_); }), HasSubstr("folder"));
  EXPECT_THAT(error_of(ErrorCode::kUsage, [&] { AtomicFile file(folder_ / "none/a"); }),
              HasSubstr("folder"));
  AtomicFile file(folder_ / "a");
  std::array<std::byte, 4> back;
  EXPECT_THAT(error_of(ErrorCode::kIo, [&] { file.read_at(0, back); }), HasSubstr("(IO)"));
}

TEST_F(FileTest, SignalHandlersMayRemoveTemporaries) {
  AtomicFile one(folder_ / "a");
  AtomicFile two(folder_ / "b");
  EXPECT_EQ(files(), 2u);
  remove_temporary_files();
  EXPECT_EQ(files(), 0u);
}

TEST_F(FileTest, ChecksumsAreXxh3) {
  // Published values of XXH3 64 bits without a seed.
  EXPECT_EQ(hex64(xxh3({})), "2d06800538d394c2");
  EXPECT_EQ(hex64(0x1f), "000000000000001f");
  EXPECT_NE(xxh3(bytes("a")), xxh3(bytes("b")));
}

TEST_F(FileTest, ChecksumsOfPiecesAreThoseOfTheWhole) {
  std::string text;
  Xxh3 hash;
  EXPECT_EQ(hash.value(), xxh3({}));
  for (int i = 0; i < 300; ++i) {  // beyond the sizes at which the algorithm changes
    const std::string piece(static_cast<size_t>(i), static_cast<char>('a' + i % 26));
    text += piece;
    hash.add(bytes(piece));
    ASSERT_EQ(hash.value(), xxh3(bytes(text))) << i;
  }
}

}  // namespace
}  // namespace upg::base
