// The table against the files of this folder, and what a Content-Security-Policy of
// `default-src 'self'` asks of them.
#include "server/web/web_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace upg::server {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(UPG_SOURCE_DIR) / "src/server/web";

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

const WebFile* find(std::string_view path) {
  for (const WebFile& file : web_files()) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

TEST(WebFilesTest, AreTheFoldersBytesUnderTheirNames) {
  size_t in_folder = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    const std::string name = entry.path().filename().string();
    if (name == "CMakeLists.txt" || name.ends_with(".cc") || name.ends_with(".h")) continue;
    ++in_folder;
    const WebFile* file = find(name == "index.html" ? "/" : "/" + name);
    ASSERT_NE(file, nullptr) << name << " is not listed in CMakeLists.txt";
    EXPECT_EQ(file->bytes, read(entry.path())) << name;
  }
  EXPECT_EQ(web_files().size(), in_folder);
}

TEST(WebFilesTest, HaveTypesAndTagsOfTheirOwn) {
  const std::map<std::string, std::string> types = {{"", "text/html; charset=utf-8"},
                                                    {".css", "text/css; charset=utf-8"},
                                                    {".js", "text/javascript; charset=utf-8"},
                                                    {".svg", "image/svg+xml"}};
  std::set<std::string_view> tags;
  for (const WebFile& file : web_files()) {
    EXPECT_EQ(file.content_type, types.at(std::filesystem::path(file.path).extension()));
    EXPECT_TRUE(std::regex_match(std::string(file.etag), std::regex("\"[0-9a-f]{16}\"")));
    EXPECT_TRUE(tags.insert(file.etag).second) << file.path;
  }
}

TEST(WebFilesTest, LoadOnlyEachOtherAndNothingInline) {
  const std::regex inline_code(R"(<script>|<style|\sstyle=|\son[a-z]+=|javascript:)");
  const std::regex outside(R"((src|href)=["']?(https?:)?//|@import|url\(\s*["']?https?:|import\(|)"
                           R"(from ["']https?:)");
  for (const WebFile& file : web_files()) {
    const std::string text(file.bytes);
    EXPECT_FALSE(file.path == "/" && std::regex_search(text, inline_code));
    EXPECT_FALSE(std::regex_search(text, outside)) << file.path;
  }
}

TEST(WebFilesTest, EveryNameThatAFileAsksForIsThere) {
  const std::regex name(R"((?:href|src)="([a-z_]+\.[a-z]+)\"|from "\./([a-z_]+\.js)\")");
  for (const WebFile& file : web_files()) {
    const std::string text(file.bytes);
    for (std::sregex_iterator at(text.begin(), text.end(), name), end; at != end; ++at) {
      const std::string wanted = "/" + (*at)[1].str() + (*at)[2].str();
      EXPECT_NE(find(wanted), nullptr) << file.path << " asks for " << wanted;
    }
  }
}

}  // namespace
}  // namespace upg::server
