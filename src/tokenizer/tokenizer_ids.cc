// Test tool: the ids of many texts, for comparison with another tokenizer.
//
//   tokenizer_ids TOKENIZER.json [--no-special]
//
// Standard input: texts, each a 32-bit little-endian length and that many bytes. Standard output:
// for each a line of ids, and behind a tab the JSON string of decode(ids, false).
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "tokenizer/tokenizer.h"

namespace {

constexpr size_t kMaxFileBytes = size_t{256} << 20;

bool read_text(std::istream& in, std::string& text) {
  unsigned char length[4];
  if (!in.read(reinterpret_cast<char*>(length), 4)) return false;
  text.resize(length[0] | length[1] << 8 | length[2] << 16 | static_cast<size_t>(length[3]) << 24);
  return static_cast<bool>(in.read(text.data(), static_cast<std::streamsize>(text.size())));
}

void run(const std::string& file, bool add_special) {
  const std::string json = upg::base::read_file(file, kMaxFileBytes);
  const auto tokenizer = upg::tokenizer::Tokenizer::load(json, "", file);
  std::string text;
  while (read_text(std::cin, text)) {
    const auto ids = tokenizer.encode(text, add_special);
    for (size_t i = 0; i < ids.size(); ++i) std::cout << (i == 0 ? "" : " ") << ids[i];
    std::cout << '\t' << upg::base::json_quote(tokenizer.decode(ids, false)) << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  if (argc < 2) return 2;
  try {
    run(argv[1], argc < 3 || std::string(argv[2]) != "--no-special");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
