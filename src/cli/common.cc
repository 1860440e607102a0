#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>

#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"

namespace upg::cli {

std::atomic<int> interrupt_signal{0};

namespace {

void write_all(int descriptor, std::string_view text) noexcept {
  const ssize_t ignored = ::write(descriptor, text.data(), text.size());
  (void)ignored;
}

// The first signal asks, the second one insists.
void on_interrupt(int signal) {
  if (interrupt_signal.exchange(signal) == 0) return;
  base::remove_temporary_files();
  ::_exit(128 + signal);
}

// A mapped file was cut short or could not be read: nothing to return to.
void on_bus_error(int) {
  write_all(STDERR_FILENO, "upg: a file in use was cut short or could not be read (IO)\n");
  base::remove_temporary_files();
  ::_exit(1);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);  // no SA_RESTART: reads from a terminal return
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void install_signal_handlers() {
  handle(SIGINT, on_interrupt);
  handle(SIGTERM, on_interrupt);
  handle(SIGBUS, on_bus_error);
  handle(SIGPIPE, SIG_IGN);  // writes fail with an error instead
  handle(SIGXFSZ, SIG_IGN);
}

void throw_if_interrupted() {
  if (interrupt_signal != 0) throw Error(ErrorCode::kCancelled, "interrupted");
}

CLI::App* add_verb(CLI::App& app, const std::string& name, const std::string& about, Common& common,
                   std::function<void()> run) {
  CLI::App* verb = app.add_subcommand(name, about);
  verb->add_flag("--json", common.json, "One JSON object on stdout instead of text");
  verb->add_option("-t,--threads", common.threads,
                   "Threads; 0: the physical cores this process may use")
      ->check(CLI::Range(0, 1024));
  verb->callback(std::move(run));
  return verb;
}

ProgressLine::~ProgressLine() {
  if (on_line_) write_all(STDERR_FILENO, "\n");
}

bool ProgressLine::operator()(const Progress& progress) {
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const double now = now_seconds();
  if (now - last_ >= (terminal ? 0.1 : 5.0)) {
    last_ = now;
    print(progress);
  }
  return interrupt_signal == 0;
}

void ProgressLine::print(const Progress& p) {
  std::string line =
      fmt::format("{} {:5.1f} %  {}/{}", verb_, 100 * p.share, p.tensors_done, p.tensors_total);
  if (p.elements_per_second > 0) {
    line += fmt::format("  {:.1f} M/s  {} left", p.elements_per_second / 1e6,
                        base::format_duration(p.seconds_left));
  }
  if (p.bits_per_weight > 0) line += fmt::format("  {:.3f} bits", p.bits_per_weight);
  if (p.relative_error > 0) line += fmt::format("  error {:.4f}", p.relative_error);
  line += "  " + base::printable(p.tensor);
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  write_all(STDERR_FILENO, terminal ? "\r\x1b[K" + line.substr(0, 150) : line + "\n");
  on_line_ = terminal;
}

namespace {

// Nobody reads on. SIGPIPE is ignored so that a half-written file is still removed on the way out.
[[noreturn]] void reader_has_left() {
  int none = 0;
  interrupt_signal.compare_exchange_strong(none, SIGPIPE);
  throw Error(ErrorCode::kCancelled, "interrupted");
}

}  // namespace

void print_text(std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(STDOUT_FILENO, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) {  // somebody made the pipe non-blocking
      ::usleep(1000);
      continue;
    }
    if (put < 0 && errno == EPIPE) reader_has_left();
    if (put < 0) {
      throw Error(ErrorCode::kIo,
                  fmt::format("standard output: cannot write: {} (IO)", std::strerror(errno)));
    }
    text.remove_prefix(static_cast<size_t>(put));
  }
}

uint64_t parse_bytes(std::string_view text, std::string_view flag) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string unit(end, text.data() + text.size());
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const bool binary = unit.size() == 3 && unit.ends_with("ib");
  if (binary || (unit.size() == 2 && unit.ends_with("b"))) unit.resize(1);
  static constexpr std::string_view kUnits = "kmgt";
  const size_t power = unit.empty() || unit == "b" ? 0 : kUnits.find(unit) + 1;
  const double bytes = value * std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(power));
  const bool known = power > 0 || unit.empty() || unit == "b";
  if (error != std::errc() || !known || unit.size() > 1 || !(bytes >= 1 && bytes < 1e18)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: found \"{}\", allowed is a size such as 8G, 8GiB or 8000M", flag,
                            base::printable(text)));
  }
  return static_cast<uint64_t>(bytes);
}

void print_note(std::string_view line) { write_all(STDERR_FILENO, std::string(line) + "\n"); }

void add_engine_flags(CLI::App* verb, EngineFlags& flags, const Common&) {
  verb->add_option("-m,--model,MODEL", flags.model,
                   "A UPG file, or a checkpoint folder (uncompressed)")
      ->required();
  verb->add_option("-c,--ctx-size", flags.load.context,
                   "Tokens of context; 0: the model's, capped by memory")
      ->check(CLI::Range(0, 1 << 30));
  verb->add_option("--device", flags.load.device, "auto, cpu, reference, cuda, cuda:N")
      ->capture_default_str();
  verb->add_option(
          "--gpu-layers", flags.load.gpu_layers,
          "Layers on the GPU, the last ones: a number, all, or auto: what fits (also -ngl)")
      ->capture_default_str();
  verb->add_option("--fusion", flags.load.fusion,
                   "What the GPU does in one launch for a single token: none, layer, token")
      ->capture_default_str();
  verb->add_option("--cache-type-k", flags.load.cache_type_k,
                   "Keys in the cache: f32, f16, q8_0 (also -ctk)")
      ->capture_default_str();
  verb->add_option("--cache-type-v", flags.load.cache_type_v,
                   "Values in the cache: f32, f16, q8_0 (also -ctv)")
      ->capture_default_str();
  verb->add_flag("--mlock", flags.load.mlock,
                 "Keep the weights in memory (the limit is that of `ulimit -l`)");
  verb->add_option("--activations", flags.load.activations,
                   "int8, or f32 with --device reference (what int8 costs)")
      ->capture_default_str();
}

std::unique_ptr<Engine> load_engine(const EngineFlags& flags, const Common& common) {
  LoadOptions options = flags.load;
  options.threads = common.threads;
  return Engine::load(flags.model, options);
}

void add_sampling_flags(CLI::App* verb, SamplingFlags& flags) {
  const char* group =
      "Sampling (defaults: the model's own, else temp 0.8, top-k 40, top-p 0.95, min-p 0.05)";
  const auto add = [&](const char* names, auto& value, const char* about) {
    verb->add_option(names, value, about)->group(group);
  };
  add("--temp", flags.temperature, "Temperature; 0: always the likeliest token");
  add("--top-k", flags.top_k, "Keep the k likeliest; 0: off");
  add("--top-p", flags.top_p, "Keep the likeliest with this much probability; 1: off");
  add("--min-p", flags.min_p, "Drop what is less likely than this share of the likeliest; 0: off");
  add("--repeat-penalty", flags.repeat_penalty, "Divides the logits of recent tokens; 1: off");
  add("--repeat-last-n", flags.repeat_last_n, "How many tokens are recent; -1: the context");
  add("--presence-penalty", flags.presence_penalty, "Subtracted once from tokens seen; 0: off");
  add("--frequency-penalty", flags.frequency_penalty, "Subtracted per occurrence; 0: off");
  add("-l,--logit-bias", flags.logit_bias, "ID=VALUE, added to that token's logit (repeatable)");
  add("-s,--seed", flags.seed, "Same seed, same text; -1: another one each time");
}

namespace {

std::pair<int32_t, float> parse_bias(const std::string& text) {
  int32_t id = 0;
  float value = 0;
  const char* end = text.data() + text.size();
  const auto [after_id, id_error] = std::from_chars(text.data(), end, id);
  bool good = id_error == std::errc() && after_id != end && *after_id == '=';
  if (good) {
    const auto [after_value, value_error] = std::from_chars(after_id + 1, end, value);
    good = value_error == std::errc() && after_value == end;
  }
  if (!good) {
    throw Error(ErrorCode::kUsage, fmt::format("--logit-bias: found \"{}\", allowed is ID=VALUE",
                                               base::printable(text)));
  }
  return {id, value};
}

}  // namespace

SamplingOptions sampling_options(const SamplingFlags& flags, const Engine& engine) {
  SamplingOptions options = engine.default_sampling();
  options.temperature = flags.temperature.value_or(options.temperature);
  options.top_k = flags.top_k.value_or(options.top_k);
  options.top_p = flags.top_p.value_or(options.top_p);
  options.min_p = flags.min_p.value_or(options.min_p);
  options.repeat_penalty = flags.repeat_penalty.value_or(options.repeat_penalty);
  options.repeat_last_n = flags.repeat_last_n.value_or(options.repeat_last_n);
  options.presence_penalty = flags.presence_penalty.value_or(options.presence_penalty);
  options.frequency_penalty = flags.frequency_penalty.value_or(options.frequency_penalty);
  for (const std::string& text : flags.logit_bias) options.logit_bias.push_back(parse_bias(text));
  options.seed = flags.seed >= 0 ? static_cast<uint64_t>(flags.seed) : std::random_device{}();
  return options;
}

}  // namespace upg::cli
