// The command `upg`: finds the verb, runs it, and turns errors into one line and an exit status.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cctype>
#include <new>

#include "cli/cli.h"
#include "upg/error.h"
#include "upg/version.h"

namespace upg::cli {
namespace {

constexpr const char* kFooter = R"(Exit status:
  0 done   1 failed while running (I/O, disk full)   2 wrong usage
  3 a file is invalid or unsupported   4 memory or device   130 interrupted   143 terminated
  141 whoever read the output has left (`upg inspect FILE | head -3`); no message
Every flag has an environment twin: --ctx-size is UPG_CTX_SIZE. UPG_CPU picks the instruction set.

Examples:
  upg compress phi-4 -o phi-4.upg
  upg run phi-4.upg -p "It was a dark and stormy night" -n 100
  upg chat phi-4.upg
  upg serve phi-4.upg)";

// A row a verb.
constexpr void (*kVerbs[])(CLI::App&, Common&) = {
    add_compress, add_decompress, add_inspect, add_verify,   add_run,
    add_chat,     add_serve,      add_eval,    add_tokenize, add_doctor};

std::string environment_twin(const std::string& flag) {
  std::string name = "UPG_" + flag;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
    return c == '-' ? '_' : static_cast<char>(std::toupper(c));
  });
  return name;
}

void add_environment_twins(CLI::App& app) {
  for (CLI::App* verb : app.get_subcommands({})) {
    for (CLI::Option* option : verb->get_options()) {
      if (option->get_lnames().empty() || option->check_lname("help")) continue;
      option->envname(environment_twin(option->get_lnames().front()));
    }
  }
}

// Flags that users know from llama.cpp in a form CLI11 does not take: one dash, several letters.
std::vector<std::string> arguments(int argc, char** argv) {
  constexpr std::pair<std::string_view, const char*> kAliases[] = {{"-ctk", "--cache-type-k"},
                                                                   {"-ctv", "--cache-type-v"},
                                                                   {"-ngl", "--gpu-layers"},
                                                                   {"-sys", "--system-prompt"}};
  std::vector<std::string> result(argv + 1, argv + argc);
  for (std::string& argument : result) {
    for (const auto& [alias, flag] : kAliases) {
      if (argument == alias) argument = flag;
    }
  }
  std::reverse(result.begin(), result.end());  // as CLI11 wants a vector
  return result;
}

// CLI11 would say that a verb is missing, and nothing of the word that it found.
void check_verb(const CLI::App& app, int argc, char** argv) {
  const std::string word = argc > 1 ? argv[1] : "-";
  std::string allowed;
  for (const CLI::App* verb : app.get_subcommands({})) {
    if (word == verb->get_name() || word.starts_with('-')) return;
    allowed += (allowed.empty() ? "" : ", ") + verb->get_name();
  }
  const char* bench =
      word == "bench" ? "; the benchmarks are scripts/bench of the source tree" : "";
  throw Error(ErrorCode::kUsage, fmt::format("found \"{}\", allowed: {}{}", word, allowed, bench));
}

int fail(int status, std::string_view message) {
  fmt::print(stderr, "upg: {}\n", message);
  return status;
}

// As a shell shows a process that the signal ended; a closed pipe says nothing, as in other tools.
int interrupted(std::string_view message) {
  const int status = 128 + interrupt_signal.load();
  return interrupt_signal == SIGPIPE ? status : fail(status, message);
}

int run(int argc, char** argv) {
  CLI::App app("Compress a large language model ten to one and run it from the compressed weights.",
               "upg");
  app.set_version_flag("--version", std::string("upg ") + kVersion);
  app.require_subcommand(1);
  app.footer(kFooter);
  app.get_formatter()->column_width(34);
  Common common;
  for (const auto add : kVerbs) add(app, common);
  add_environment_twins(app);
  check_verb(app, argc, argv);
  try {
    app.parse(arguments(argc, argv));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    app.exit(error);
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace upg::cli

int main(int argc, char** argv) {
  using upg::cli::fail;
  using upg::cli::interrupt_signal;
  upg::cli::install_signal_handlers();
  try {
    return upg::cli::run(argc, argv);
  } catch (const upg::Error& error) {
    const bool cancelled = error.code() == upg::ErrorCode::kCancelled && interrupt_signal != 0;
    return cancelled ? upg::cli::interrupted(error.what())
                     : fail(upg::exit_code(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    return fail(4, "out of memory");
  } catch (const std::exception& error) {
    return fail(1, error.what());
  }
}
