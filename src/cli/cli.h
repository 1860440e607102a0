// What the verbs of the command share: one file a verb, each adding itself to the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "upg/compress.h"
#include "upg/engine.h"

namespace upg::cli {

// Flags every verb understands.
struct Common {
  bool json = false;
  int threads = 0;
};

// Adds a verb and says what it does when chosen. Listed in main.cc.
void add_compress(CLI::App& app, Common& common);
void add_decompress(CLI::App& app, Common& common);
void add_inspect(CLI::App& app, Common& common);
void add_verify(CLI::App& app, Common& common);
void add_run(CLI::App& app, Common& common);
void add_chat(CLI::App& app, Common& common);
void add_serve(CLI::App& app, Common& common);
void add_eval(CLI::App& app, Common& common);
void add_tokenize(CLI::App& app, Common& common);
void add_doctor(CLI::App& app, Common& common);

// A verb with --json and --threads; `run` is called after parsing. Every option gets its
// environment twin in main.cc: --ctx-size is UPG_CTX_SIZE.
CLI::App* add_verb(CLI::App& app, const std::string& name, const std::string& about, Common& common,
                   std::function<void()> run);

// ---- interruption: the first Ctrl-C or SIGTERM sets it, a second one ends the process. Output
// that nobody reads any more sets it too.
extern std::atomic<int> interrupt_signal;  // 0, SIGINT, SIGTERM or SIGPIPE
void install_signal_handlers();
// Throws Error(kCancelled) when a signal has come.
void throw_if_interrupted();

// Progress on stderr: one line that is rewritten on a terminal, a line every few seconds elsewhere.
class ProgressLine {
 public:
  explicit ProgressLine(std::string verb) : verb_(std::move(verb)) {}
  ~ProgressLine();
  bool operator()(const Progress& progress);  // false when a signal has come

 private:
  void print(const Progress& progress);
  std::string verb_;
  double last_ = -1e9;  // seconds
  bool on_line_ = false;
};

// ---- flags that several verbs share
struct EngineFlags {
  std::string model;
  LoadOptions load;
};
void add_engine_flags(CLI::App* verb, EngineFlags& flags, const Common& common);
std::unique_ptr<Engine> load_engine(const EngineFlags& flags, const Common& common);

struct SamplingFlags {
  std::optional<float> temperature, top_p, min_p, repeat_penalty, presence_penalty,
      frequency_penalty;
  std::optional<int> top_k, repeat_last_n;
  std::vector<std::string> logit_bias;  // "ID=VALUE"
  int64_t seed = -1;                    // -1: another one each time
};
void add_sampling_flags(CLI::App* verb, SamplingFlags& flags);
// The flags over the model's own defaults. Throws Error(kUsage).
SamplingOptions sampling_options(const SamplingFlags& flags, const Engine& engine);

// stdout, flushed. Throws Error(kIo) when it cannot, Error(kCancelled) when the reader has left.
// "8G", "8GB", "7.5GiB", "8000000000": bytes. Throws Error(kUsage) naming the flag.
uint64_t parse_bytes(std::string_view text, std::string_view flag);

void print_text(std::string_view text);
void print_note(std::string_view line);  // stderr, with a newline

}  // namespace upg::cli
