// The benchmarks of the book in one program. By itself it is a Google Benchmark program:
//
//   build/release/bench/benchmarks --model FILE -- --benchmark_filter=product/.*path3
//
// With --serve it takes samples for bench/book (Python), which chooses their order, length and
// number and does the statistics. One request a line on standard input, one JSON object a line on
// standard output:
//
//   list                        what there is: machine, benchmarks, their bounds
//   run ITERATIONS NAME         {"seconds": of all iterations, ...} or {"error": text}
//   forget                      {}; matrices and models that are kept are dropped
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/machine.h"
#include "base/threads.h"
#include "kernels/backend.h"
#include "suite.h"
#include "upg/error.h"
#include "upg/version.h"

namespace upg::bench {
namespace {

using Json = nlohmann::ordered_json;

struct Flags {
  Options options;
  bool serve = false;
  std::string slow;  // names that contain it ...
  double slow_percent = 15;
  std::string first_prompt;
};

Suite make_suite(const Options& options) {
  Suite suite;
  for (auto* add : {add_limits, add_device_limits, add_starts, add_decompression, add_products,
                    add_cublas, add_cusparse, add_first_design, add_scaling, add_primes,
                    add_operations, add_coding, add_models}) {
    add(options, suite);
  }
  return suite;
}

Json machine(const Options& options) {
  return {{"cpu", base::cpu_model()},
          {"threads", options.threads},
          {"memory_bytes", base::total_memory()},
          {"backend", best_cpu()},
          {"device", kernels::create_backend({})->describe()},
          {"version", kVersion}};
}

Json to_json(const Benchmark& row) {
  Json bounds = Json::array();
  for (const Bound& bound : row.bounds) {
    bounds.push_back({{"limit", bound.limit}, {"amount", bound.amount}});
  }
  return {{"name", row.name}, {"labels", row.labels}, {"amount", row.amount},
          {"unit", row.unit}, {"bounds", bounds},     {"group", row.group}};
}

// Keeps the one run that it is told of.
class Recorder final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override { run_ = runs.front(); }

  Json json() const {
    Json sample = {{"seconds", run_.real_accumulated_time},
                   {"cpu_seconds", run_.cpu_accumulated_time},
                   {"iterations", run_.iterations}};
    for (const auto& [name, counter] : run_.counters) sample["counters"][name] = counter.value;
    return sample;
  }

 private:
  Run run_;
};

benchmark::internal::Benchmark* enroll(const Benchmark& row) {
  auto* benchmark = benchmark::RegisterBenchmark(row.name.c_str(), row.body);
  benchmark->MeasureProcessCPUTime();
  return row.manual_time ? benchmark->UseManualTime() : benchmark->UseRealTime();
}

class Server {
 public:
  explicit Server(const Flags& flags) : flags_(flags), suite_(make_suite(flags.options)) {}

  void serve() {
    for (std::string line; std::getline(std::cin, line);) std::cout << answer(line) << std::endl;
  }

 private:
  std::string answer(const std::string& line) {
    if (line == "list") return list().dump();
    if (line == "forget") {
      forget();
      return "{}";
    }
    char name[512];
    int64_t iterations = 0;
    if (std::sscanf(line.c_str(), "run %ld %511s", &iterations, name) == 2 && iterations > 0) {
      return sample(name, iterations).dump();
    }
    return Json({{"error", "allowed are list, forget, run ITERATIONS NAME"}}).dump();
  }

  Json list() const {
    Json benchmarks = Json::array();
    for (const Benchmark& row : suite_) benchmarks.push_back(to_json(row));
    return {{"machine", machine(flags_.options)}, {"benchmarks", benchmarks}};
  }

  Json sample(const std::string& name, int64_t iterations) {
    const auto row = std::find_if(suite_.begin(), suite_.end(),
                                  [&](const Benchmark& each) { return each.name == name; });
    if (row == suite_.end()) return {{"error", name + ": no such benchmark"}};
    const bool slow = !flags_.slow.empty() && name.find(flags_.slow) != std::string::npos;
    set_slowdown(slow ? flags_.slow_percent / 100 : 0);
    benchmark::ClearRegisteredBenchmarks();
    enroll(*row)->Iterations(iterations);
    Recorder recorder;
    try {
      benchmark::RunSpecifiedBenchmarks(&recorder, ".");
    } catch (const Error& error) {
      return {{"error", error.what()}};
    }
    return recorder.json();
  }

  const Flags& flags_;
  Suite suite_;
};

// As any Google Benchmark program, with the arguments behind "--".
void run_all(const Flags& flags, std::vector<std::string> arguments) {
  const Suite suite = make_suite(flags.options);
  for (const Benchmark& row : suite) enroll(row);
  arguments.insert(arguments.begin(), "benchmarks");
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
  benchmark::RunSpecifiedBenchmarks();
}

}  // namespace
}  // namespace upg::bench

int main(int argc, char** argv) {
  upg::bench::Flags flags;
  std::vector<std::string> rest;
  CLI::App app("Benchmarks of kernels, codecs and whole models, each beside the machine's limit");
  app.add_flag("--tiny", flags.options.tiny, "Small sizes: does everything work?");
  app.add_flag("--all", flags.options.all, "Every shape x codec x backend x batch");
  app.add_option("-t,--threads", flags.options.threads, "0: the physical cores");
  app.add_option("--model", flags.options.models, "A UPG file or checkpoint folder (repeatable)")
      ->allow_extra_args(false);
  app.add_flag("--serve", flags.serve, "Take samples as standard input asks");
  app.add_option("--slow", flags.slow,
                 "Benchmarks with this in their name take --slow-percent longer: shows that a "
                 "regression is found");
  app.add_option("--slow-percent", flags.slow_percent)->capture_default_str();
  app.add_option("--first-prompt", flags.first_prompt,
                 "Print the seconds of this model's first prompt, and no more");
  app.add_option("benchmark", rest, "Google Benchmark's options, behind --");
  flags.options.threads = 0;
  CLI11_PARSE(app, argc, argv);
  if (flags.options.threads <= 0) flags.options.threads = upg::base::default_threads();
  try {
    if (!flags.first_prompt.empty()) {
      fmt::print("{:.9f}\n", first_prompt_seconds(flags.first_prompt, flags.options));
    } else if (flags.serve) {
      upg::bench::Server(flags).serve();
    } else {
      upg::bench::run_all(flags, rest);
    }
  } catch (const upg::Error& error) {
    fmt::print(stderr, "benchmarks: {}\n", error.what());
    return 1;
  }
  return 0;
}
