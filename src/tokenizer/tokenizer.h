// Text to token ids and back: byte-level BPE from a checkpoint's tokenizer.json, with the ids of
// the `tokenizers` package.
//
// The way of a text: added tokens are cut out, the rest is normalised (NFC or not at all), cut into
// pieces by the split patterns (pre_split.h), each piece's bytes are joined by the merges (bpe.h),
// and the post-processor's tokens go around the whole.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace upg::tokenizer {

struct TokenizerParts;

// Immutable: any number of threads may use one. A copy shares everything.
class Tokenizer {
 public:
  // json: tokenizer.json; config_json: tokenizer_config.json, or empty; `file` is for messages.
  // Throws Error: kInvalidData for what is broken (limits: 256 MiB, 2^21 tokens and merges), or
  // kUnsupported, naming it, for a kind of model, normaliser, pre-tokenizer, post-processor or
  // decoder that is not known here. `truncation` and `padding` are not looked at.
  static Tokenizer load(std::string_view json, std::string_view config_json, std::string_view file);

  // add_special: with the tokens that the post-processor puts around a text (Llama 3's BOS).
  // Special and added tokens in the text are recognised. Invalid UTF-8 is read as U+FFFD, one for
  // each maximal invalid part, as Python's errors="replace" does. Time is O(n log n) at worst for
  // the known split patterns; another pattern may fail with Error(kUnsupported) on a text that it
  // backtracks on without end.
  std::vector<int32_t> encode(std::string_view text, bool add_special = true) const;

  // Valid UTF-8: incomplete or invalid bytes are U+FFFD. Ids without a token are left out.
  // skip_special: without the special tokens. decode(encode(t)) == t for valid UTF-8 `t` unless the
  // tokenizer itself changes text (NFC, lstrip and rstrip, a missing byte).
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  // The bytes a token stands for, valid while a copy of this lives; empty for an unknown id.
  std::string_view piece(int32_t id) const noexcept;
  int32_t vocab_size() const noexcept;  // largest id + 1
  // By the text tokenizer.json has: "<|im_end|>", "Ġthe".
  std::optional<int32_t> id_of(std::string_view token) const noexcept;
  bool is_special(int32_t id) const noexcept;

  // bos_token and eos_token of the config, where it names one that exists.
  std::optional<int32_t> bos_id() const noexcept;
  std::optional<int32_t> eos_id() const noexcept;

 private:
  explicit Tokenizer(std::shared_ptr<const TokenizerParts> parts);
  std::shared_ptr<const TokenizerParts> parts_;
};

}  // namespace upg::tokenizer
