// What a loaded tokenizer consists of. Private to tokenizer.cc and the loader.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pre_split.h"
#include "tokenizer/regex_split.h"
#include "tokenizer/vocabulary.h"

namespace upg::tokenizer {

// One step of cutting text into pieces.
struct SplitStage {
  bool prefix_space = false;          // text that does not begin with a space gets one first
  Scanner scan = nullptr;             // covers the text with matches
  std::unique_ptr<RegexSplit> regex;  // else this
  bool keep_matches = true;
  bool keep_gaps = true;
};

struct BpeModel {
  MergeTable merges{{}};
  std::array<int32_t, 256> byte_ids{};  // -1: no token for this byte
  bool ignore_merges = false;           // a piece that is a token is that token
  bool fuse_unk = false;
  int32_t unk_id = -1;  // for bytes without a token; -1: they are dropped
};

struct TokenizerParts {
  Vocabulary vocabulary{0};
  std::vector<bool> in_model;          // by id: not only an added token
  std::vector<bool> special;           // by id
  std::string piece_bytes;             // of all tokens, in the order of ids
  std::vector<uint32_t> piece_begins;  // [size + 1]

  BpeModel model;
  bool nfc = false;
  std::vector<SplitStage> stages;
  AddedTokenSplitter added;             // looked for in the text as it is
  AddedTokenSplitter added_normalized;  // looked for in the normalised text
  std::vector<int32_t> before;          // around a text: the post-processor's
  std::vector<int32_t> behind;
  std::optional<int32_t> bos_id;
  std::optional<int32_t> eos_id;
};

// Throws as Tokenizer::load does.
std::shared_ptr<const TokenizerParts> load_tokenizer(std::string_view json,
                                                     std::string_view config_json,
                                                     std::string_view file);

}  // namespace upg::tokenizer
