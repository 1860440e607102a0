#include "tokenizer/byte_alphabet.h"
#include "tokenizer/load_fields.h"
#include "tokenizer/load_parts.h"

namespace upg::tokenizer {
namespace {

using base::Json;

void check_kind(const Json& model, std::string_view where) {
  // Old files leave the type out.
  const Json* type = find_set(model, "type");
  if (type != nullptr && type->as_string(join_field(where, "type")) != "BPE") {
    refuse(where, type->as_string(where));
  }
  if (flag(model, "byte_fallback", where, false)) {
    refuse(where, "a SentencePiece-style vocabulary (byte_fallback)");
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json* value = find_set(model, affix);
    const std::string place = join_field(where, affix);
    if (value != nullptr && !value->as_string(place).empty()) refuse(place, value->describe());
  }
  const Json* dropout = find_set(model, "dropout");
  const std::string place = join_field(where, "dropout");
  if (dropout != nullptr && dropout->as_number(place) != 0) refuse(place, dropout->describe());
}

void read_vocabulary(const Json& vocab, const std::string& where, TokenizerParts& parts) {
  const auto members = vocab.as_object(where);
  if (members.empty()) fail(where, "found no token (FIELD)");
  check_limit(members.size(), kMaxTokens, where, "tokens");
  parts.vocabulary = Vocabulary(members.size());
  for (const auto& [text, value] : members) {
    const auto id = static_cast<int32_t>(value.as_integer(where, 0, kMaxTokens - 1));
    if (parts.vocabulary.add(text, id) != Vocabulary::Added::kNew) {
      fail(where, fmt::format("id {} of \"{}\" is taken by \"{}\" (DUP)", id, base::printable(text),
                              base::printable(parts.vocabulary.text(id))));
    }
  }
  parts.in_model.resize(static_cast<size_t>(parts.vocabulary.size()));
  for (int32_t id = 0; id < parts.vocabulary.size(); ++id) {
    parts.in_model[static_cast<size_t>(id)] = parts.vocabulary.has(id);
  }
}

// The two sides of a merge: ["a", "b"], or "a b" in older files.
std::pair<std::string_view, std::string_view> merge_sides(const Json& merge,
                                                          const std::string& where) {
  if (merge.is_array()) {
    const auto sides = merge.as_array(where);
    if (sides.size() == 2) return {sides[0].as_string(where), sides[1].as_string(where)};
  } else {
    const std::string_view text = merge.as_string(where);
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  fail(where,
       fmt::format("found {}, allowed are [\"a\", \"b\"] or \"a b\" (FIELD)", merge.describe()));
}

int32_t known_token(const Vocabulary& vocabulary, std::string_view text, const std::string& where) {
  const int32_t id = vocabulary.find(text);
  if (id < 0) {
    fail(where, fmt::format("\"{}\" is not in the vocabulary (INDEX)", base::printable(text)));
  }
  return id;
}

std::vector<Merge> read_merges(const Json& json, const std::string& where,
                               const Vocabulary& vocabulary) {
  const auto items = json.as_array(where);
  check_limit(items.size(), kMaxTokens, where, "merges");
  std::vector<Merge> merges;
  merges.reserve(items.size());
  std::string joined;
  for (const Json& item : items) {
    const auto [left, right] = merge_sides(item, where);
    joined.assign(left).append(right);
    merges.push_back({known_token(vocabulary, left, where), known_token(vocabulary, right, where),
                      known_token(vocabulary, joined, where)});
  }
  return merges;
}

}  // namespace

void read_model(const Json& model, std::string_view where, TokenizerParts& parts) {
  model.as_object(where);
  check_kind(model, where);
  read_vocabulary(member(model, "vocab", where), join_field(where, "vocab"), parts);
  const std::vector<Merge> merges =
      read_merges(member(model, "merges", where), join_field(where, "merges"), parts.vocabulary);
  parts.model.merges = MergeTable(merges);
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    parts.model.byte_ids[static_cast<size_t>(byte)] =
        parts.vocabulary.find(to_byte_alphabet({&one, 1}));
  }
  parts.model.ignore_merges = flag(model, "ignore_merges", where, false);
  parts.model.fuse_unk = flag(model, "fuse_unk", where, false);
  const Json* unknown = find_set(model, "unk_token");
  if (unknown != nullptr) {
    const std::string place = join_field(where, "unk_token");
    parts.model.unk_id = known_token(parts.vocabulary, unknown->as_string(place), place);
  }
}

}  // namespace upg::tokenizer
