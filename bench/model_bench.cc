// How fast a whole model runs, beside what the machine's memory and arithmetic allow, measured in
// the same run.
//
//   build/release/bench/model_bench MODEL [--context 512] [--tokens 32] [--batch 1,4,16]
//
// Prompt: a context of that many tokens from scratch, in chunks of 512. Generation: steps of one
// token a sequence after that context, sampling included, each of --batch sequences at its own copy
// of the context. Tokens are random: nothing depends on them. Then the share of time of each
// operation at the first batch.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <random>

#include "base/machine.h"
#include "int8_peak.h"
#include "model/model.h"
#include "profiled_backend.h"
#include "runtime/kv_cache.h"
#include "runtime/sampler.h"

namespace upg::bench {
namespace {

constexpr int kChunk = 512;
constexpr int kStepsAProbe = 6;
constexpr double kProbeBytes = 512 << 20;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Options {
  std::string model;
  int context = 512;
  int tokens = 32;
  std::vector<int> batches = {1, 4, 16};
  kernels::BackendOptions backend;
};

// Sequences on one model, all at the same length.
class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options),
        inner_(kernels::create_backend(options.backend)),
        backend_(*inner_),
        model_(model::ModelSource::open(options.model), backend_, limits(options)),
        cache_(backend_, shape(), pages(options)),
        sampler_({}, static_cast<int>(model_.config().vocabulary)),
        probe_(inner_->threads()) {}

  void run();

 private:
  static int most(const Options& options) {
    return *std::max_element(options.batches.begin(), options.batches.end());
  }
  static model::ModelLimits limits(const Options& options) {
    return {.max_tokens = std::max(kChunk, most(options)), .max_logits = most(options)};
  }
  static int pages(const Options& options) {
    return most(options) * (runtime::pages_for(options.context + options.tokens) + 1);
  }
  runtime::KvShape shape() const {
    const model::ModelConfig& c = model_.config();
    return {.layers = c.layers, .kv_heads = c.attention.kv_heads, .head_dim = c.attention.head_dim};
  }

  void print_machine();
  void print_prompt();
  void generate(int batch);
  void print_profile(double seconds) const;
  void step(int sequences, int tokens);
  int32_t random_token() {
    return static_cast<int32_t>(random_() % static_cast<uint64_t>(model_.config().vocabulary));
  }

  const Options& options_;
  std::unique_ptr<kernels::Backend> inner_;
  ProfiledBackend backend_;
  model::Model model_;
  runtime::KvCache cache_;
  runtime::Sampler sampler_;
  std::mt19937_64 random_{1};
  base::ReadProbe probe_;
  double first_batch_seconds_ = 0;

  std::vector<runtime::PageTable> tables_;
  std::vector<int32_t> ids_;
  int length_ = 0;
};

// `tokens` new tokens of each sequence in one step, logits and a sampled token of the last of each.
void Bench::step(int sequences, int tokens) {
  std::vector<kernels::SequenceSlice> slices;
  std::vector<int32_t> wanted;
  std::vector<const kernels::Rope*> ropes(static_cast<size_t>(sequences), &model_.rope_for(0));
  ids_.clear();
  for (int i = 0; i < sequences; ++i) {
    if (!cache_.grow(tables_[static_cast<size_t>(i)], length_, tokens)) std::abort();
    slices.push_back({i * tokens, tokens, length_, tables_[static_cast<size_t>(i)]});
    for (int t = 0; t < tokens; ++t) ids_.push_back(random_token());
    wanted.push_back((i + 1) * tokens - 1);
  }
  const kernels::StepBatch batch = {sequences * tokens, ids_, slices, ropes};
  const float* logits = model_.forward(batch, cache_.layers(), wanted);
  const auto vocabulary = static_cast<size_t>(model_.config().vocabulary);
  std::vector<float> row(vocabulary);
  for (size_t i = 0; i < wanted.size(); ++i) {
    backend_.download(row.data(), logits + i * vocabulary, vocabulary * sizeof(float));
    backend_.time("sampling", [&] { sampler_.sample(row, ids_); });
  }
  length_ += tokens;
}

void Bench::print_machine() {
  const int threads = inner_->threads();
  const double bandwidth = probe_.measure(1.0);
  const double peak = measure_int8_peak(inner_->name(), 0.2) * threads;
  fmt::print("{}, {}\n", base::cpu_model(), inner_->describe());
  fmt::print("read bandwidth {:.1f} GB/s; int8 peak {:.0f} GOPS (both with {} threads)\n",
             bandwidth * 1e-9, peak * 1e-9, threads);
  fmt::print("{}: {:.2f} M parameters, {:.1f} MB read a token\n\n", options_.model,
             static_cast<double>(model_.parameters()) * 1e-6,
             static_cast<double>(model_.bytes_per_token()) * 1e-6);
}

void Bench::print_prompt() {
  tables_.assign(1, {});
  step(1, 1);  // pages the weights in
  cache_.truncate(tables_[0], 0);
  length_ = 0;
  backend_.clear();
  const double begin = now();
  while (length_ < options_.context) step(1, std::min(kChunk, options_.context - length_));
  const double took = now() - begin;
  const double peak = measure_int8_peak(inner_->name(), 0.2) * inner_->threads();
  const double operations =
      2e0 * static_cast<double>(options_.context) *
      static_cast<double>(
          model_.parameters() -
          static_cast<uint64_t>(2 * model_.config().vocabulary * model_.config().hidden));
  fmt::print("prompt {:5} tokens            {:8.2f} tok/s   products {:.0f} GOPS, {:.2f} of peak\n",
             options_.context, options_.context / took,
             operations / backend_.seconds().at("products") * 1e-9,
             operations / backend_.seconds().at("products") / peak);
  print_profile(took);
}

void Bench::generate(int batch) {
  tables_.resize(1);
  length_ = options_.context;
  for (int i = 1; i < batch; ++i) {
    tables_.push_back(cache_.share(tables_[0], options_.context));
  }
  step(batch, 1);
  backend_.clear();
  std::vector<double> seconds;
  std::vector<double> bandwidths;
  double total = 0;
  for (int i = 1; i < options_.tokens; ++i) {
    // The memory is shared with others: the limit is looked at again and again.
    if (i % kStepsAProbe == 1) bandwidths.push_back(probe_.measure(0.05));
    const double begin = now();
    step(batch, 1);
    seconds.push_back(now() - begin);
    total += seconds.back();
  }
  const double bandwidth = median(bandwidths);
  const double typical = median(seconds);
  if (first_batch_seconds_ == 0) first_batch_seconds_ = typical;
  fmt::print(
      "context {:5}, batch {:3}        {:8.2f} tok/s   {:.1f} ms a step, {:.2f} of the first "
      "batch's; {:.1f} GB/s, {:.2f} of the {:.1f} that were read in between\n",
      options_.context, batch, batch / typical, typical * 1e3, typical / first_batch_seconds_,
      static_cast<double>(model_.bytes_per_token()) / typical * 1e-9,
      static_cast<double>(model_.bytes_per_token()) / typical / bandwidth, bandwidth * 1e-9);
  print_profile(total);
  for (runtime::PageTable& table : tables_) cache_.truncate(table, options_.context);
  for (size_t i = 1; i < tables_.size(); ++i) cache_.truncate(tables_[i], 0);
}

void Bench::print_profile(double seconds) const {
  std::vector<std::pair<double, std::string>> rows;
  double known = 0;
  for (const auto& [name, took] : backend_.seconds()) {
    rows.emplace_back(took, name);
    known += took;
  }
  rows.emplace_back(seconds - known, "between them");
  std::sort(rows.rbegin(), rows.rend());
  std::string line;
  for (const auto& [took, name] : rows) {
    if (took / seconds >= 5e-4) line += fmt::format("  {} {:.1f} %", name, 100 * took / seconds);
  }
  fmt::print("   {}\n", line);
}

void Bench::run() {
  print_machine();
  print_prompt();
  for (const int batch : options_.batches) generate(batch);
  fmt::print("\n{:.0f} MB resident at most: file {:.0f}, cache {:.0f}, the probe's {:.0f}\n",
             static_cast<double>(base::peak_resident_bytes()) * 1e-6,
             static_cast<double>(model_.source().file_bytes()) * 1e-6,
             static_cast<double>(cache_.bytes()) * 1e-6, kProbeBytes * 1e-6);
}

}  // namespace
}  // namespace upg::bench

int main(int argc, char** argv) {
  upg::bench::Options options;
  CLI::App app("Speed of a whole model, beside the limits of the machine");
  app.add_option("MODEL", options.model, "A UPG file or a checkpoint folder")->required();
  app.add_option("--context", options.context, "Tokens before the first that is timed")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--tokens", options.tokens, "Steps that are timed, and one")
      ->check(CLI::Range(2, 1 << 20));
  app.add_option("--batch", options.batches, "Sequences a step, one or several numbers")
      ->delimiter(',')
      ->check(CLI::Range(1, 512));
  app.add_option("-t,--threads", options.backend.threads, "0: the physical cores");
  app.add_option("--cpu", options.backend.cpu, "An instruction set by name");
  CLI11_PARSE(app, argc, argv);
  try {
    upg::bench::Bench(options).run();
  } catch (const upg::Error& error) {
    fmt::print(stderr, "model_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
