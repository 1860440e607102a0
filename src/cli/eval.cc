// upg eval: perplexity of a text, and against a source model how much was kept.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/report.h"
#include "format/upg_file.h"
#include "runtime/evaluate.h"

namespace upg::cli {
namespace {

struct EvalFlags {
  EngineFlags engine;
  std::string text;
  std::string source;
  int context = 1024;
  int windows = 0;
  bool write = false;
};

constexpr size_t kMaxTextBytes = size_t{1} << 30;

using Clock = std::chrono::steady_clock;

class EvalProgress {
 public:
  bool operator()(int done, int total, const runtime::Evaluation& so_far) {
    const double took = std::chrono::duration<double>(Clock::now() - start_).count();
    const bool terminal = ::isatty(STDERR_FILENO) == 1;
    if (terminal || took - printed_ > 5 || done == total) {
      printed_ = took;
      const double rate = static_cast<double>(so_far.positions) / took;
      std::string line =
          fmt::format("window {}/{}  {:.0f} tok/s  {} left  perplexity {:.3f}", done, total, rate,
                      base::format_duration(took / done * (total - done)), so_far.perplexity);
      if (so_far.with_source) line += fmt::format("  KL {:.4f}", so_far.kl);
      fmt::print(stderr, "{}{}{}", terminal ? "\r\x1b[K" : "", line,
                 terminal && done < total ? "" : "\n");
    }
    return interrupt_signal == 0;
  }

 private:
  Clock::time_point start_ = Clock::now();
  double printed_ = 0;
};

nlohmann::ordered_json to_json(const runtime::Evaluation& e, const EvalFlags& flags) {
  nlohmann::ordered_json json;
  json["tokens"] = e.tokens;
  json["windows"] = e.windows;
  json["ctx"] = flags.context;
  json["perplexity"] = e.perplexity;
  if (e.with_source) {
    json["source_perplexity"] = e.source_perplexity;
    json["kl"] = e.kl;
    json["top1_agreement"] = e.top1_agreement;
  }
  return json;
}

void print_result(const runtime::Evaluation& e) {
  std::string out = fmt::format("perplexity      {:.4f} over {} tokens in {} windows\n",
                                e.perplexity, e.tokens, e.windows);
  if (e.with_source) {
    out += fmt::format("of the source   {:.4f} ({:+.2f} %)\n", e.source_perplexity,
                       100 * (e.perplexity / e.source_perplexity - 1));
    out += fmt::format("KL divergence   {:.5f} nats\n", e.kl);
    out += fmt::format("top-1 agreement {:.2f} %\n", 100 * e.top1_agreement);
  }
  print_text(out);
}

// The measurement goes into the file's header, with what it was measured on.
void write_measurement(const EvalFlags& flags, const std::string& text,
                       const runtime::Evaluation& e) {
  nlohmann::ordered_json json = to_json(e, flags);
  json["text_xxh3"] = base::hex64(base::xxh3(std::as_bytes(std::span(text))));
  format::write_quality(flags.engine.model, json.dump());
  print_note(fmt::format("{}: measurement written", base::printable(flags.engine.model)));
}

void eval(const EvalFlags& flags, const Common& common) {
  if (flags.write && !format::looks_like_upg(flags.engine.model)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("--write: {} is no UPG file", base::printable(flags.engine.model)));
  }
  const std::string text = base::read_file(flags.text, kMaxTextBytes);
  const auto engine = load_engine(flags.engine, common);
  std::unique_ptr<Engine> source;
  if (!flags.source.empty()) {
    EngineFlags source_flags = flags.engine;
    source_flags.model = flags.source;
    source = load_engine(source_flags, common);
  }
  runtime::EvaluateOptions options;
  options.context = std::min({flags.context, engine->info().model_context,
                              source ? source->info().model_context : flags.context});
  options.windows = flags.windows;
  const std::vector<int32_t> ids = engine->encode(text, false);
  const runtime::Evaluation result =
      runtime::evaluate(*engine, source.get(), ids, options, EvalProgress());
  if (common.json) {
    print_text(to_json(result, flags).dump() + "\n");
  } else {
    print_result(result);
  }
  if (flags.write) write_measurement(flags, text, result);
}

}  // namespace

void add_eval(CLI::App& app, Common& common) {
  const auto flags = std::make_shared<EvalFlags>();
  CLI::App* verb = add_verb(app, "eval", "Measure perplexity, and what was kept of a source",
                            common, [flags, &common] { eval(*flags, common); });
  add_engine_flags(verb, flags->engine, common);
  verb->remove_option(verb->get_option("--ctx-size"));
  verb->add_option("--text", flags->text, "The text to measure on")->required();
  verb->add_option("--source", flags->source,
                   "The model it was made from: adds KL divergence and top-1 agreement");
  verb->add_option("--ctx", flags->context, "Tokens a window, never above the model's context")
      ->capture_default_str()
      ->check(CLI::Range(2, 1 << 30));
  verb->add_option("--windows", flags->windows,
                   "So many windows, evenly spread; 0: all of the text")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 30));
  verb->add_flag("--write", flags->write,
                 "Write the result into the UPG file, for inspect to show");
}

}  // namespace upg::cli
