#include "tokenizer/load_fields.h"
#include "tokenizer/load_parts.h"
#include "tokenizer/unicode.h"

namespace upg::tokenizer {
namespace {

using base::Json;

constexpr size_t kMaxAddedTokens = size_t{1} << 17;
constexpr size_t kMaxContentBytes = 65536;               // of one token
constexpr size_t kMaxAllContentBytes = size_t{8} << 20;  // of all together

AddedToken read_token(const Json& json, const std::string& where) {
  AddedToken token;
  json.as_object(where);
  token.id = static_cast<int32_t>(
      member(json, "id", where).as_integer(join_field(where, "id"), 0, kMaxTokens - 1));
  token.content = text_field(json, "content", where);
  token.special = flag(json, "special", where, false);
  token.single_word = flag(json, "single_word", where, false);
  token.lstrip = flag(json, "lstrip", where, false);
  token.rstrip = flag(json, "rstrip", where, false);
  token.normalized = flag(json, "normalized", where, !token.special);
  if (token.content.empty()) fail(join_field(where, "content"), "found \"\" (FIELD)");
  check_limit(token.content.size(), kMaxContentBytes, join_field(where, "content"), "bytes");
  return token;
}

// An added token is in the model's vocabulary under its id, or new in both.
void add_to_vocabulary(const AddedToken& token, const std::string& where, Vocabulary& vocabulary) {
  if (vocabulary.text(token.id) == token.content) return;
  switch (vocabulary.add(token.content, token.id)) {
    case Vocabulary::Added::kNew:
      return;
    case Vocabulary::Added::kIdTaken:
      fail(where,
           fmt::format("id {} of \"{}\" is taken by \"{}\" (DUP)", token.id,
                       base::printable(token.content), base::printable(vocabulary.text(token.id))));
    case Vocabulary::Added::kTextTaken:
      fail(where,
           fmt::format("\"{}\" has id {}, but {} elsewhere (DUP)", base::printable(token.content),
                       token.id, vocabulary.find(token.content)));
  }
}

}  // namespace

void read_added_tokens(const Json& json, std::string_view place, TokenizerParts& parts) {
  const std::string where(place);
  const auto items = json.as_array(where);
  check_limit(items.size(), kMaxAddedTokens, where, "tokens");
  std::vector<AddedToken> plain;
  std::vector<AddedToken> normalized;
  std::vector<bool> seen;
  size_t bytes = 0;
  for (const Json& item : items) {
    AddedToken token = read_token(item, where);
    bytes += token.content.size();
    check_limit(bytes, kMaxAllContentBytes, where, "bytes of content");
    add_to_vocabulary(token, where, parts.vocabulary);
    const auto size = static_cast<size_t>(parts.vocabulary.size());
    parts.special.resize(size);
    seen.resize(size);
    const auto id = static_cast<size_t>(token.id);
    if (seen[id]) fail(where, fmt::format("id {} occurs twice (DUP)", token.id));
    seen[id] = true;
    parts.special[id] = token.special;
    (token.normalized ? normalized : plain).push_back(std::move(token));
  }
  const auto as_it_is = [](std::string_view text) { return std::string(text); };
  parts.added = AddedTokenSplitter(std::move(plain), as_it_is);
  if (parts.nfc) {
    parts.added_normalized = AddedTokenSplitter(std::move(normalized), normalize_nfc);
  } else {
    parts.added_normalized = AddedTokenSplitter(std::move(normalized), as_it_is);
  }
}

}  // namespace upg::tokenizer
