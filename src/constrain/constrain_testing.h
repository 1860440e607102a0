// Vocabularies, texts and schemas for the tests and fuzz targets of constrained decoding.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "constrain/matcher.h"

namespace upg::constrain::testing {

// A token a byte: id = byte.
std::shared_ptr<const TokenTable> byte_table();
// The 256 bytes, pieces of JSON and `count` random ones of up to 8 bytes; the last is special.
std::shared_ptr<const TokenTable> mixed_table(int count, uint64_t seed);

// What a grammar says of a text.
enum class Verdict { kNo, kBeginning, kWhole };
Verdict read(const std::shared_ptr<const Grammar>& grammar, std::string_view text);

std::shared_ptr<const Grammar> schema_grammar(std::string_view schema);

// A text that the grammar allows, drawn token by token from the mask; after `patience` tokens it is
// steered to its end. Empty when it did not end within 20 times that.
std::string random_walk(const std::shared_ptr<const Grammar>& grammar,
                        const std::shared_ptr<const TokenTable>& table, std::mt19937_64& random,
                        int patience);

// A schema of the supported subset that at least one text satisfies.
std::string random_schema(std::mt19937_64& random, int depth);

// Whether a value satisfies a schema: written for the tests, straight from the standard. Throws
// std::runtime_error for a keyword it does not know.
bool validates(const base::Json& schema, const base::Json& value, const base::Json& root);

}  // namespace upg::constrain::testing
