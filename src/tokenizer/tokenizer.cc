#include "tokenizer/tokenizer.h"

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/tokenizer_parts.h"
#include "tokenizer/unicode.h"

namespace upg::tokenizer {
namespace {

// One encode(): the memory that its pieces share.
class Encoder {
 public:
  Encoder(const TokenizerParts& parts, std::vector<int32_t>& ids)
      : parts_(parts), ids_(ids), merger_(parts.model.merges) {}

  void encode(std::string_view text) {
    for (const Segment& segment : parts_.added.split(text)) {
      if (segment.id >= 0) {
        ids_.push_back(segment.id);
      } else if (parts_.nfc) {
        encode_normalized(normalize_nfc(segment.text));
      } else {
        encode_normalized(segment.text);
      }
    }
  }

 private:
  void encode_normalized(std::string_view text) {
    for (const Segment& segment : parts_.added_normalized.split(text)) {
      if (segment.id >= 0) {
        ids_.push_back(segment.id);
      } else {
        split(segment.text, 0);
      }
    }
  }

  void split(std::string_view text, size_t stage_index) {
    if (text.empty()) return;
    if (stage_index == parts_.stages.size()) return encode_piece(text);
    const SplitStage& stage = parts_.stages[stage_index];
    std::string prefixed;
    if (stage.prefix_space && text[0] != ' ') {
      prefixed.reserve(text.size() + 1);
      prefixed.append(" ").append(text);
      text = prefixed;
    }
    if (stage.scan == nullptr) return split_by_regex(text, stage, stage_index + 1);
    for (size_t at = 0, end; at < text.size(); at = end) {
      end = stage.scan(text, at);
      if (stage.keep_matches) split(text.substr(at, end - at), stage_index + 1);
    }
  }

  void split_by_regex(std::string_view text, const SplitStage& stage, size_t next_stage) {
    if (!scratch_) scratch_.emplace();
    size_t done = 0;
    for (const RegexSplit::Match& match : stage.regex->matches(text, *scratch_)) {
      if (stage.keep_gaps) split(text.substr(done, match.begin - done), next_stage);
      if (stage.keep_matches) {
        split(text.substr(match.begin, match.end - match.begin), next_stage);
      }
      done = match.end;
    }
    if (stage.keep_gaps) split(text.substr(done), next_stage);
  }

  void encode_piece(std::string_view piece) {
    if (parts_.model.ignore_merges) {
      const int32_t id = parts_.vocabulary.find(to_byte_alphabet(piece));
      if (id >= 0 && parts_.in_model[static_cast<size_t>(id)]) return ids_.push_back(id);
    }
    set_symbols(piece);
    merger_.merge(symbols_);
    ids_.insert(ids_.end(), symbols_.begin(), symbols_.end());
  }

  void set_symbols(std::string_view piece) {
    const BpeModel& model = parts_.model;
    symbols_.clear();
    bool after_unknown = false;
    for (const char byte : piece) {
      const int32_t id = model.byte_ids[static_cast<uint8_t>(byte)];
      const bool unknown = id < 0 && model.unk_id >= 0;
      if (id >= 0) symbols_.push_back(id);
      if (unknown && !(after_unknown && model.fuse_unk)) symbols_.push_back(model.unk_id);
      after_unknown = unknown;
    }
  }

  const TokenizerParts& parts_;
  std::vector<int32_t>& ids_;
  BpeMerger merger_;
  std::vector<int32_t> symbols_;
  std::optional<RegexSplit::Scratch> scratch_;
};

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const TokenizerParts> parts) : parts_(std::move(parts)) {}

Tokenizer Tokenizer::load(std::string_view json, std::string_view config_json,
                          std::string_view file) {
  return Tokenizer(load_tokenizer(json, config_json, file));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + parts_->before.size() + parts_->behind.size());
  if (add_special) ids = parts_->before;
  std::string storage;
  Encoder(*parts_, ids).encode(repaired_utf8(text, storage));
  if (add_special) ids.insert(ids.end(), parts_->behind.begin(), parts_->behind.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!(skip_special && is_special(id))) bytes += piece(id);
  }
  std::string storage;
  const std::string_view text = repaired_utf8(bytes, storage);
  return text.data() == bytes.data() ? std::move(bytes) : std::move(storage);
}

std::string_view Tokenizer::piece(int32_t id) const noexcept {
  if (id < 0 || id >= vocab_size()) return {};
  const auto index = static_cast<size_t>(id);
  const uint32_t begin = parts_->piece_begins[index];
  return std::string_view(parts_->piece_bytes)
      .substr(begin, parts_->piece_begins[index + 1] - begin);
}

int32_t Tokenizer::vocab_size() const noexcept { return parts_->vocabulary.size(); }

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const noexcept {
  const int32_t id = parts_->vocabulary.find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

bool Tokenizer::is_special(int32_t id) const noexcept {
  return id >= 0 && id < vocab_size() && parts_->special[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::bos_id() const noexcept { return parts_->bos_id; }

std::optional<int32_t> Tokenizer::eos_id() const noexcept { return parts_->eos_id; }

}  // namespace upg::tokenizer
