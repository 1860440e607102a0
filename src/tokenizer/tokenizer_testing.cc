#include "tokenizer/tokenizer_testing.h"

#include <fmt/format.h>

#include <filesystem>
#include <iterator>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "tokenizer/byte_alphabet.h"

namespace upg::tokenizer::testing {

std::string source_file(std::string_view path) {
  const std::filesystem::path full = std::filesystem::path(UPG_SOURCE_DIR) / path;
  if (!std::filesystem::exists(full)) return {};
  return base::read_file(full, size_t{64} << 20);
}

std::string small_tokenizer(const std::vector<std::string>& merges, std::string_view members) {
  std::string vocab;
  int id = 0;
  const auto add = [&](std::string_view token) {
    vocab += fmt::format("{}{}: {}", id == 0 ? "" : ", ", base::json_quote(token), id);
    ++id;
  };
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    add(to_byte_alphabet({&one, 1}));
  }
  std::string list;
  for (const std::string& merge : merges) {
    std::string joined = merge;
    joined.erase(joined.find(' '), 1);
    add(joined);
    list += (list.empty() ? "" : ", ") + base::json_quote(merge);
  }
  return fmt::format(R"({{"model": {{"type": "BPE", "vocab": {{{}}}, "merges": [{}]}}, {}}})",
                     vocab, list, members);
}

std::string split_members(std::string_view pattern) {
  return fmt::format(
      R"("pre_tokenizer": {{"type": "Sequence", "pretokenizers": [
      {{"type": "Split", "pattern": {{"Regex": {}}}, "behavior": "Isolated", "invert": false}},
      {{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}}]}})",
      base::json_quote(pattern));
}

std::string random_text(std::mt19937_64& random, int most) {
  static constexpr std::u32string_view kCharacters =
      U"aabsStTrevEVmMlLdD''''  \n\n\r\t\v\u0085\u00a0\u2003\u3000\u2028 "
      U"0129\u0663\u00bd\u2167.,/!-_@$"
      U"\u00e9\u00c9\u017f\u01c5\u02b0\u03c3\u03a3\u05d0\u0627\u0915\u093f\u0301\u0308\u20dd\u4e2d"
      U"\u672c\uac00\u3042"
      U"\u200b\u200d\ufe0f\U0001f600\U0001f3fd\U00010400\U00010428\U000e0041\u180e\ufeff";
  std::string out;
  const auto count = std::uniform_int_distribution<int>(0, most)(random);
  for (int i = 0; i < count; ++i) {
    const char32_t c = kCharacters[random() % kCharacters.size()];
    const int repeat = random() % 8 == 0 ? static_cast<int>(random() % 5) + 1 : 1;
    for (int j = 0; j < repeat; ++j) base::append_utf8(out, c);
  }
  return out;
}

}  // namespace upg::tokenizer::testing
