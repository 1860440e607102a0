#include "tokenizer/load_fields.h"
#include "tokenizer/load_parts.h"

namespace upg::tokenizer {
namespace {

using base::Json;

constexpr size_t kMaxStages = 64;

// The members of a Sequence, or the part itself; null has none. Sequences may nest (the JSON
// reader bounds how deep).
void flatten(const Json* part, const std::string& where, std::string_view members,
             std::vector<const Json*>& out) {
  if (part == nullptr) return;
  if (type_of(*part, where) != "Sequence") {
    out.push_back(part);
  } else {
    const std::string place = join_field(where, members);
    for (const Json& item : member(*part, members, where).as_array(place)) {
      if (item.is_null()) fail(place, "found null, allowed is an object (FIELD)");
      flatten(&item, where, members, out);
      check_limit(out.size(), kMaxStages, place, "members");
    }
  }
}

void read_normalizer(const Json* json, const std::string& where, TokenizerParts& parts) {
  std::vector<const Json*> steps;
  flatten(json, where, "normalizers", steps);
  for (const Json* step : steps) {
    const std::string_view type = type_of(*step, where);
    if (type == "Prepend" || type == "Replace" || type == "Precompiled") {
      refuse(where, fmt::format("{} (of a SentencePiece-style vocabulary)", type));
    }
    if (type != "NFC") refuse(where, type);
    parts.nfc = true;
  }
}

// A string pattern as a regular expression.
std::string quoted(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c & 0x80) != 0 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       (c >= '0' && c <= '9') || c == ' ' || c == '\n' || c == '\t';
    if (!plain) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

SplitStage regex_stage(std::string_view pattern, const std::string& where) {
  SplitStage stage;
  stage.scan = find_scanner(pattern);
  if (stage.scan == nullptr) stage.regex = std::make_unique<RegexSplit>(pattern, where);
  return stage;
}

SplitStage read_split(const Json& json, const std::string& where) {
  const std::string place = join_field(where, "pattern");
  const Json& pattern = member(json, "pattern", where);
  pattern.as_object(place);
  const Json* regex = pattern.find("Regex");
  SplitStage stage = regex != nullptr
                         ? regex_stage(regex->as_string(place), place)
                         : regex_stage(quoted(text_field(pattern, "String", place)), place);
  const std::string_view behavior = text_field(json, "behavior", where);
  const bool invert = flag(json, "invert", where, false);
  if (behavior == "Removed") {
    stage.keep_matches = invert;
    stage.keep_gaps = !invert;
  } else if (behavior != "Isolated") {
    refuse(join_field(where, "behavior"), behavior);
  }
  return stage;
}

size_t scan_all(std::string_view text, size_t) { return text.size(); }

SplitStage read_byte_level(const Json& json, const std::string& where) {
  SplitStage stage;
  stage.prefix_space = flag(json, "add_prefix_space", where, true);
  stage.scan = flag(json, "use_regex", where, true) ? scan_gpt2 : scan_all;
  return stage;
}

void read_pre_tokenizer(const Json* json, const std::string& where, TokenizerParts& parts) {
  std::vector<const Json*> stages;
  flatten(json, where, "pretokenizers", stages);
  bool byte_level = false;
  for (const Json* stage : stages) {
    const std::string_view type = type_of(*stage, where);
    if (type == "Metaspace") refuse(where, "Metaspace (of a SentencePiece-style vocabulary)");
    // Behind ByteLevel the text would be in the byte alphabet.
    if (byte_level) refuse(where, fmt::format("{} behind ByteLevel", type));
    if (type == "Split") {
      parts.stages.push_back(read_split(*stage, where));
    } else if (type == "Digits") {
      const bool individual = flag(*stage, "individual_digits", where, false);
      parts.stages.push_back(regex_stage(individual ? "\\p{N}" : "\\p{N}+", where));
    } else if (type == "ByteLevel") {
      byte_level = true;
      parts.stages.push_back(read_byte_level(*stage, where));
    } else {
      refuse(where, type);
    }
  }
  if (!byte_level) refuse(where, "a vocabulary that is not byte-level (no ByteLevel)");
}

void check_decoder(const Json* json, const std::string& where) {
  std::vector<const Json*> steps;
  flatten(json, where, "decoders", steps);
  for (const Json* step : steps) {
    const std::string_view type = type_of(*step, where);
    if (type != "ByteLevel" && type != "Fuse") refuse(where, type);
  }
}

}  // namespace

void read_pipeline(const Json& root, std::string_view file, TokenizerParts& parts) {
  read_normalizer(find_set(root, "normalizer"), join_field(file, "normalizer"), parts);
  read_pre_tokenizer(find_set(root, "pre_tokenizer"), join_field(file, "pre_tokenizer"), parts);
  check_decoder(find_set(root, "decoder"), join_field(file, "decoder"));
}

}  // namespace upg::tokenizer
