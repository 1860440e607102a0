// The loader's pieces, one for each field of tokenizer.json. Each throws as Tokenizer::load does.
// Private to the loader.
#pragma once

#include <string_view>

#include "base/json.h"
#include "tokenizer/tokenizer_parts.h"

namespace upg::tokenizer {

// "model": vocabulary, merges, flags.
void read_model(const base::Json& model, std::string_view where, TokenizerParts& parts);
// "normalizer", "pre_tokenizer", "decoder".
void read_pipeline(const base::Json& root, std::string_view file, TokenizerParts& parts);
// "added_tokens"; needs the model and the pipeline.
void read_added_tokens(const base::Json& tokens, std::string_view where, TokenizerParts& parts);
// "post_processor"; needs all tokens.
void read_post_processor(const base::Json& processor, std::string_view where,
                         TokenizerParts& parts);

}  // namespace upg::tokenizer
