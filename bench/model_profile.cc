// Where the time of a whole model goes: the share of each operation in a prompt and in steps of one
// token a sequence. How fast it is, the book says (scripts/bench --filter model/).
//
//   build/release/bench/model_profile MODEL [--context 512] [--tokens 32] [--batch 1,16]
//
// Tokens are random: nothing depends on them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <random>

#include "model/model.h"
#include "profiled_backend.h"
#include "runtime/kv_cache.h"
#include "runtime/sampler.h"
#include "suite.h"
#include "upg/error.h"

namespace upg::bench {
namespace {

constexpr int kChunk = 512;

struct ProfileOptions {
  std::string model;
  int context = 512;
  int tokens = 32;
  std::vector<int> batches = {1, 16};
  kernels::BackendOptions backend;
};

// Sequences on one model, all at the same length.
class Profile {
 public:
  explicit Profile(const ProfileOptions& options)
      : options_(options),
        inner_(kernels::create_backend(options.backend)),
        backend_(*inner_),
        model_(model::ModelSource::open(options.model), backend_, limits(options)),
        cache_(backend_, shape(), pages(options)),
        sampler_({}, static_cast<int>(model_.config().vocabulary)) {}

  void run() {
    fmt::print("{}\n", inner_->describe());
    profile_prompt();
    for (const int batch : options_.batches) profile_steps(batch);
  }

 private:
  static int most(const ProfileOptions& options) {
    return *std::max_element(options.batches.begin(), options.batches.end());
  }
  static model::ModelLimits limits(const ProfileOptions& options) {
    return {.max_tokens = std::max(kChunk, most(options)), .max_logits = most(options)};
  }
  static int pages(const ProfileOptions& options) {
    return most(options) * (runtime::pages_for(options.context + options.tokens) + 1);
  }
  runtime::KvShape shape() const {
    const model::ModelConfig& c = model_.config();
    return {.layers = c.layers, .kv_heads = c.attention.kv_heads, .head_dim = c.attention.head_dim};
  }

  void profile_prompt();
  void profile_steps(int batch);
  void print(const std::string& what, double seconds) const;
  void step(int sequences, int tokens);
  int32_t random_token() {
    return static_cast<int32_t>(random_() % static_cast<uint64_t>(model_.config().vocabulary));
  }

  const ProfileOptions& options_;
  std::unique_ptr<kernels::Backend> inner_;
  ProfiledBackend backend_;
  model::Model model_;
  runtime::KvCache cache_;
  runtime::Sampler sampler_;
  std::mt19937_64 random_{1};

  std::vector<runtime::PageTable> tables_;
  std::vector<int32_t> ids_;
  int length_ = 0;
};

// `tokens` new tokens of each sequence in one step, logits and a sampled token of the last of each.
void Profile::step(int sequences, int tokens) {
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

void Profile::profile_prompt() {
  tables_.assign(1, {});
  step(1, 1);  // pages the weights in
  cache_.truncate(tables_[0], 0);
  length_ = 0;
  backend_.clear();
  const double begin = seconds_now();
  while (length_ < options_.context) step(1, std::min(kChunk, options_.context - length_));
  print(fmt::format("prompt of {}", options_.context), seconds_now() - begin);
}

void Profile::profile_steps(int batch) {
  tables_.resize(1);
  length_ = options_.context;
  for (int i = 1; i < batch; ++i) tables_.push_back(cache_.share(tables_[0], options_.context));
  step(batch, 1);
  backend_.clear();
  const double begin = seconds_now();
  for (int i = 1; i < options_.tokens; ++i) step(batch, 1);
  print(fmt::format("steps behind {}, batch {}", options_.context, batch), seconds_now() - begin);
  for (runtime::PageTable& table : tables_) cache_.truncate(table, options_.context);
  for (size_t i = 1; i < tables_.size(); ++i) cache_.truncate(tables_[i], 0);
}

void Profile::print(const std::string& what, double seconds) const {
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
  fmt::print("{}:{}\n", what, line);
}

}  // namespace
}  // namespace upg::bench

int main(int argc, char** argv) {
  upg::bench::ProfileOptions options;
  CLI::App app("Where the time of a whole model goes");
  app.add_option("MODEL", options.model, "A UPG file or a checkpoint folder")->required();
  app.add_option("--context", options.context, "Tokens before the first step")
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
    upg::bench::Profile(options).run();
  } catch (const upg::Error& error) {
    fmt::print(stderr, "model_profile: {}\n", error.what());
    return 1;
  }
  return 0;
}
