// upg run: continues a text.
#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/report.h"

namespace upg::cli {
namespace {

struct RunFlags {
  EngineFlags engine;
  SamplingFlags sampling;
  std::string prompt;
  std::string prompt_file;
  std::vector<std::string> stop;
  int max_tokens = -1;
  bool ignore_eos = false;
  bool quiet = false;
};

constexpr size_t kMaxPromptBytes = size_t{64} << 20;

std::string read_prompt(const RunFlags& flags) {
  if (flags.prompt_file.empty()) return flags.prompt;
  if (flags.prompt_file != "-") return base::read_file(flags.prompt_file, kMaxPromptBytes);
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

nlohmann::ordered_json to_json(const GenerateResult& result, const Engine& engine, uint64_t seed) {
  const Speed speed = speed_of(result, engine.info());
  nlohmann::ordered_json json;
  json["text"] = result.text;
  json["ids"] = result.ids;
  json["finish_reason"] = finish_name(result.finish);
  json["prompt_tokens"] = result.prompt_tokens;
  json["generated_tokens"] = result.ids.size();
  json["load_seconds"] = engine.info().load_seconds;
  json["prompt_tokens_per_second"] = speed.prompt_tokens_per_second;
  json["tokens_per_second"] = speed.tokens_per_second;
  json["weight_gb_per_second"] = speed.weight_gb_per_second;
  json["peak_rss_bytes"] = base::peak_resident_bytes();
  json["seed"] = seed;
  json["backend"] = engine.info().backend;
  return json;
}

void run(const RunFlags& flags, const Common& common) {
  const std::string prompt = read_prompt(flags);
  EngineFlags engine_flags = flags.engine;
  if (!flags.quiet && !common.json) engine_flags.load.on_plan = print_plan;
  const auto engine = load_engine(engine_flags, common);
  if (!flags.quiet && !common.json) print_model(engine->info());
  GenerateOptions options;
  options.sampling = sampling_options(flags.sampling, *engine);
  options.max_tokens = flags.max_tokens;
  options.stop = flags.stop;
  options.ignore_end_of_text = flags.ignore_eos;
  options.on_prompt = PromptProgress(common.json || flags.quiet);
  const GenerateResult result = engine->generate(prompt, options, [&](const GeneratedToken& token) {
    if (!common.json) print_text(token.text);
    return interrupt_signal == 0;
  });
  if (common.json) {
    print_text(to_json(result, *engine, options.sampling.seed)
                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
               "\n");
  } else {
    print_text("\n");
    if (!flags.quiet) print_speed(result, engine->info());
  }
  throw_if_interrupted();
}

}  // namespace

void add_run(CLI::App& app, Common& common) {
  const auto flags = std::make_shared<RunFlags>();
  CLI::App* verb =
      add_verb(app, "run", "Continue a text", common, [flags, &common] { run(*flags, common); });
  add_engine_flags(verb, flags->engine, common);
  auto* prompt =
      verb->add_option("-p,--prompt", flags->prompt, "The text to continue, as it stands");
  auto* file =
      verb->add_option("-f,--file", flags->prompt_file, "Read it from a file; -: standard input");
  prompt->excludes(file);
  verb->add_option("-n,--n-predict,--predict", flags->max_tokens,
                   "Tokens to write; -1: to the end of text or context")
      ->capture_default_str()
      ->check(CLI::Range(-1, 1 << 30));
  verb->add_option("--stop", flags->stop, "End before this text (repeatable)");
  verb->add_flag("--ignore-eos", flags->ignore_eos, "Go on after the end of text");
  verb->add_flag("-q,--quiet", flags->quiet, "Only the text, no figures");
  add_sampling_flags(verb, flags->sampling);
}

}  // namespace upg::cli
