// Reads tokenizer.json: every field checked before its use, every unknown kind refused by name.
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/load_fields.h"
#include "tokenizer/load_parts.h"

namespace upg::tokenizer {
namespace {

using base::Json;

constexpr base::JsonLimits kLimits{
    .max_bytes = size_t{256} << 20, .max_depth = 64, .max_values = size_t{1} << 24};

// The ids a template's special token stands for.
std::vector<int32_t> template_ids(const Json& specials, std::string_view name,
                                  const std::string& where, int32_t vocabulary) {
  const Json* special = specials.find(name);
  if (special == nullptr) {
    fail(where, fmt::format("\"{}\" is not among special_tokens (INDEX)", base::printable(name)));
  }
  std::vector<int32_t> ids;
  for (const Json& id : member(*special, "ids", where).as_array(join_field(where, "ids"))) {
    ids.push_back(static_cast<int32_t>(id.as_integer(join_field(where, "ids"), 0, vocabulary - 1)));
  }
  return ids;
}

void read_template(const Json& json, const std::string& where, TokenizerParts& parts) {
  constexpr size_t kMaxPieces = 64;
  const std::string place = join_field(where, "single");
  const auto pieces = member(json, "single", where).as_array(place);
  check_limit(pieces.size(), kMaxPieces, place, "pieces");
  std::vector<int32_t> before;
  std::vector<int32_t> behind;
  bool text_seen = false;
  for (const Json& piece : pieces) {
    if (const Json* special = piece.find("SpecialToken")) {
      const std::vector<int32_t> ids =
          template_ids(member(json, "special_tokens", where), text_field(*special, "id", place),
                       place, parts.vocabulary.size());
      auto& side = text_seen ? behind : before;
      side.insert(side.end(), ids.begin(), ids.end());
      check_limit(side.size(), kMaxPieces, place, "ids");
    } else {
      const std::string_view name = text_field(member(piece, "Sequence", place), "id", place);
      if (name != "A" || text_seen) refuse(place, fmt::format("sequence {}", name));
      text_seen = true;
    }
  }
  if (!text_seen) refuse(place, "a template without the text");
  // A later processor of a sequence works on the earlier one's result.
  parts.before.insert(parts.before.begin(), before.begin(), before.end());
  parts.behind.insert(parts.behind.end(), behind.begin(), behind.end());
  check_limit(parts.before.size() + parts.behind.size(), kMaxPieces, where, "ids");
}

// The bytes of every token: what a token of the model stands for in the byte alphabet (its text
// itself where that is not in it), an added token's content.
void fill_pieces(TokenizerParts& parts) {
  const Vocabulary& vocabulary = parts.vocabulary;
  std::vector<bool> literal = parts.added.token_ids(vocabulary.size());
  const std::vector<bool> also = parts.added_normalized.token_ids(vocabulary.size());
  for (size_t id = 0; id < literal.size(); ++id) literal[id] = literal[id] || also[id];
  parts.piece_begins.reserve(static_cast<size_t>(vocabulary.size()) + 1);
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    parts.piece_begins.push_back(static_cast<uint32_t>(parts.piece_bytes.size()));
    const std::string_view text = vocabulary.text(id);
    const auto bytes = literal[static_cast<size_t>(id)] ? std::nullopt : from_byte_alphabet(text);
    parts.piece_bytes += bytes ? std::string_view(*bytes) : text;
  }
  parts.piece_begins.push_back(static_cast<uint32_t>(parts.piece_bytes.size()));
  parts.special.resize(static_cast<size_t>(vocabulary.size()));
  parts.in_model.resize(static_cast<size_t>(vocabulary.size()));
}

// "bos_token" and the like: a string or an added token; one that does not exist counts as none.
std::optional<int32_t> config_token(const Json& config, std::string_view name,
                                    const std::string& where, const Vocabulary& vocabulary) {
  const Json* value = find_set(config, name);
  if (value == nullptr) return std::nullopt;
  const std::string place = join_field(where, name);
  const int32_t id = vocabulary.find(value->is_object() ? text_field(*value, "content", place)
                                                        : value->as_string(place));
  return id < 0 ? std::nullopt : std::optional(id);
}

void read_config(std::string_view text, const std::string& where, TokenizerParts& parts) {
  const base::JsonDocument document(text, where);
  document.root().as_object(where);
  parts.bos_id = config_token(document.root(), "bos_token", where, parts.vocabulary);
  parts.eos_id = config_token(document.root(), "eos_token", where, parts.vocabulary);
}

}  // namespace

void read_post_processor(const Json& json, std::string_view where_text, TokenizerParts& parts) {
  const std::string where(where_text);
  const std::string_view type = type_of(json, where);
  if (type == "Sequence") {
    const std::string place = join_field(where, "processors");
    for (const Json& item : member(json, "processors", where).as_array(place)) {
      read_post_processor(item, where, parts);
    }
  } else if (type == "TemplateProcessing") {
    read_template(json, where, parts);
  } else if (type != "ByteLevel") {  // that one moves offsets alone
    refuse(where, type);
  }
}

std::shared_ptr<const TokenizerParts> load_tokenizer(std::string_view json,
                                                     std::string_view config_json,
                                                     std::string_view file_name) {
  const std::string file = base::printable(file_name);
  const base::JsonDocument document(json, file, kLimits);
  const Json& root = document.root();
  root.as_object(file);
  const auto parts = std::make_shared<TokenizerParts>();
  read_model(member(root, "model", file), join_field(file, "model"), *parts);
  read_pipeline(root, file, *parts);
  if (const Json* added = find_set(root, "added_tokens")) {
    read_added_tokens(*added, join_field(file, "added_tokens"), *parts);
  }
  if (const Json* processor = find_set(root, "post_processor")) {
    read_post_processor(*processor, join_field(file, "post_processor"), *parts);
  }
  fill_pieces(*parts);
  if (!config_json.empty()) {
    read_config(config_json, join_field(file, "tokenizer_config.json"), *parts);
  }
  return parts;
}

}  // namespace upg::tokenizer
