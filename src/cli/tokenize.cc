// upg tokenize: the ids of a text, each with its piece.
#include <fmt/format.h>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"
#include "model/source.h"
#include "tokenizer/tokenizer.h"

namespace upg::cli {
namespace {

struct TokenizeFlags {
  std::string model;
  std::string text;
  std::string file;
  bool no_special = false;
};

constexpr size_t kMaxTextBytes = size_t{1} << 30;

std::string read_text(const TokenizeFlags& flags) {
  if (flags.file.empty()) return flags.text;
  if (flags.file != "-") return base::read_file(flags.file, kMaxTextBytes);
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

void tokenize(const TokenizeFlags& flags, const Common& common) {
  const auto source = model::ModelSource::open(flags.model);
  if (source->tokenizer_text().empty()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{}: holds no tokenizer.json", base::printable(flags.model)));
  }
  const auto tokenizer = tokenizer::Tokenizer::load(source->tokenizer_text(),
                                                    source->tokenizer_config_text(), flags.model);
  const std::vector<int32_t> ids = tokenizer.encode(read_text(flags), !flags.no_special);
  if (common.json) {
    nlohmann::ordered_json json;
    json["ids"] = ids;
    return print_text(json.dump() + "\n");
  }
  std::string out;
  for (const int32_t id : ids) {
    out += fmt::format("{:>7}  {}\n", id, base::json_quote(tokenizer.decode({&id, 1}, false)));
  }
  print_text(out);
  print_note(fmt::format("{} tokens", ids.size()));
}

}  // namespace

void add_tokenize(CLI::App& app, Common& common) {
  const auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* verb = add_verb(app, "tokenize", "Show the tokens of a text", common,
                            [flags, &common] { tokenize(*flags, common); });
  verb->add_option("-m,--model,MODEL", flags->model, "A UPG file or a checkpoint folder")
      ->required();
  auto* text = verb->add_option("-p,--prompt", flags->text, "The text");
  auto* file = verb->add_option("-f,--file", flags->file, "Read it from a file; -: standard input");
  text->excludes(file);
  verb->add_flag("--no-special", flags->no_special,
                 "Without the tokens that the model's tokenizer adds around a text");
}

}  // namespace upg::cli
