// Any bytes as text, for several small tokenizers: ids in range, decode() gives the text back,
// streaming says the same, and short and long pieces agree whatever the split.
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "tokenizer/pre_split.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_testing.h"
#include "tokenizer/unicode.h"

namespace {

using upg::tokenizer::Tokenizer;

std::vector<Tokenizer> make_tokenizers() {
  namespace testing = upg::tokenizer::testing;
  const std::string added = R"("added_tokens": [
      {"id": 400, "content": "<|s|>", "special": true, "normalized": false},
      {"id": 401, "content": "<|s|><", "special": false, "normalized": true, "single_word": true}],)";
  std::vector<Tokenizer> all;
  for (const auto& known : upg::tokenizer::known_patterns()) {
    all.push_back(Tokenizer::load(
        testing::small_tokenizer({"a b", "ab ab", "a a", "aa aa", "\u0120 a", "\u00c3 \u00a9"},
                                 added + testing::split_members(known.pattern)),
        "", "fuzz"));
  }
  return all;
}

void check(const Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text);
  upg::tokenizer::StreamDecoder stream(tokenizer, false);
  std::string streamed;
  for (const int32_t id : ids) {
    UPG_CHECK(id >= 0 && id < tokenizer.vocab_size());
    streamed += stream.push(id);
  }
  streamed += stream.finish();
  std::string storage;
  UPG_CHECK(streamed == upg::tokenizer::repaired_utf8(text, storage));
  UPG_CHECK(streamed == tokenizer.decode(ids, false));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<Tokenizer> tokenizers = make_tokenizers();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const Tokenizer& tokenizer : tokenizers) check(tokenizer, text);
  std::string storage;
  const std::string normal =
      upg::tokenizer::normalize_nfc(upg::tokenizer::repaired_utf8(text, storage));
  UPG_CHECK(upg::tokenizer::normalize_nfc(normal) == normal);
  return 0;
}
