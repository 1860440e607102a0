// What the tokenizer's tests share: small tokenizers, random text, test files.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace upg::tokenizer::testing {

// The contents of a file below the source folder; empty when there is none.
std::string source_file(std::string_view path);

// A tokenizer.json with all bytes, the merges given as {"a b", ...} (their results are added to the
// vocabulary), and further members of the root: "\"normalizer\": null", ...
std::string small_tokenizer(const std::vector<std::string>& merges, std::string_view members);
// The pipeline members of small_tokenizer() for a split pattern.
std::string split_members(std::string_view pattern);

// Random valid UTF-8 of up to `most` characters, of all the kinds that split patterns tell apart.
std::string random_text(std::mt19937_64& random, int most);

}  // namespace upg::tokenizer::testing
