// Whole models: how fast they are ready, read a prompt and write, through the engine that `upg run`
// uses and with its figures: prompt tokens over the seconds of the prompt, steps over theirs.
#include <algorithm>
#include <memory>
#include <optional>
#include <random>

#include "base/machine.h"
#include "model/source.h"
#include "model_files.h"
#include "own_process.h"
#include "suite.h"
#include "upg/engine.h"

namespace upg::bench {
namespace {

namespace fs = std::filesystem;

struct Sizes {
  int prompt = 512;
  int generated = 128;
  int batch_steps = 16;
  int most_sequences = 16;
};

Sizes sizes_of(const Options& options) { return options.tiny ? Sizes{32, 8, 4, 4} : Sizes{}; }

// The engine of the model that was asked for last, and a sequence that holds a prompt; dropped by
// forget().
struct Loaded {
  std::string key;
  std::unique_ptr<Engine> engine;
  std::optional<SequenceId> prompted;
};

Loaded& loaded() {
  static Loaded one;
  [[maybe_unused]] static const bool registered = [] {
    on_forget([] { loaded() = {}; });
    return true;
  }();
  return one;
}

LoadOptions load_options(const std::string& device, int threads, int sequences, int context) {
  LoadOptions options;
  options.threads = threads;
  options.device = device;
  options.sequences = sequences;
  options.context = context;
  return options;
}

int context_of(const Sizes& sizes) {
  return sizes.prompt + std::max(sizes.generated, 2 * sizes.batch_steps) + 32;
}

Engine& engine_of(const fs::path& model, const std::string& device, int threads,
                  const Sizes& sizes) {
  const std::string key = device + model.string();
  if (loaded().key != key) {
    loaded() = {};
    loaded().engine =
        Engine::load(model, load_options(device, threads, sizes.most_sequences, context_of(sizes)));
    loaded().key = key;
  }
  return *loaded().engine;
}

std::vector<int32_t> random_ids(int count, int vocabulary) {
  static std::mt19937 random(1);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<unsigned>(vocabulary));
  return ids;
}

GenerateOptions generate_options(const Engine& engine, int tokens) {
  GenerateOptions options;
  options.sampling = engine.default_sampling();
  options.max_tokens = tokens;
  options.ignore_end_of_text = true;
  return options;
}

// A prompt of random tokens from scratch.
void prompt(benchmark::State& state, Engine& engine, int tokens) {
  const GenerateOptions options = generate_options(engine, 1);
  engine.generate(random_ids(8, engine.info().vocabulary), options);
  for (auto _ : state) {
    const auto result = engine.generate(random_ids(tokens, engine.info().vocabulary), options);
    state.SetIterationTime(result.prompt_seconds);
  }
}

// The first prompt of a model just loaded, as `upg run` has it: by a process of its own, where
// weights, cache and all other memory are touched for the first time.
void first_prompt(benchmark::State& state, const fs::path& model, const Options& options) {
  forget();
  std::vector<std::string> arguments = {"--first-prompt", model.string(), "--threads",
                                        std::to_string(options.threads)};
  if (options.tiny) arguments.emplace_back("--tiny");
  for (auto _ : state) state.SetIterationTime(ask_own_process(arguments));
}

// Steps of one token after a prompt of one.
void generate(benchmark::State& state, Engine& engine, int tokens) {
  engine.generate(random_ids(1, engine.info().vocabulary), generate_options(engine, 4));
  const GenerateOptions options = generate_options(engine, tokens + 1);
  for (auto _ : state) {
    const auto result = engine.generate(random_ids(1, engine.info().vocabulary), options);
    state.SetIterationTime(result.generate_seconds);
  }
}

// One token more in each of the sequences.
void step(Engine& engine, const std::vector<SequenceId>& sequences) {
  const auto ids = random_ids(static_cast<int>(sequences.size()), engine.info().vocabulary);
  std::vector<StepInput> inputs;
  for (size_t s = 0; s < sequences.size(); ++s) inputs.push_back({sequences[s], {&ids[s], 1}});
  benchmark::DoNotOptimize(engine.step(inputs).data());
}

SequenceId prompted_sequence(Engine& engine, int tokens) {
  std::optional<SequenceId>& sequence = loaded().prompted;
  if (!sequence) {
    sequence = engine.create_sequence();
    const auto ids = random_ids(tokens, engine.info().vocabulary);
    const StepInput input[] = {{*sequence, ids}};
    engine.step(input);
  }
  return *sequence;
}

// Steps of one token in each of `batch` sequences behind a prompt that they share.
void batched(benchmark::State& state, Engine& engine, const Sizes& sizes, int batch) {
  const SequenceId prompted = prompted_sequence(engine, sizes.prompt);
  std::vector<SequenceId> sequences;
  while (static_cast<int>(sequences.size()) < batch) {
    sequences.push_back(engine.fork_sequence(prompted, sizes.prompt));
  }
  step(engine, sequences);
  for (auto _ : state) {
    for (const SequenceId sequence : sequences) engine.truncate_sequence(sequence, sizes.prompt);
    const double begin = seconds_now();
    for (int i = 0; i < sizes.batch_steps; ++i) step(engine, sequences);
    state.SetIterationTime(seconds_now() - begin);
  }
  for (const SequenceId sequence : sequences) engine.free_sequence(sequence);
}

// What a token reads and computes, from the headers.
struct Work {
  double bytes = 0;
  double layer_weights = 0;
};

Work work_of(const fs::path& path) {
  const auto source = model::ModelSource::open(path);
  Work work;
  for (const model::TensorSpec& spec : source->specs()) {
    const bool table = spec.role == model::Role::kEmbedding && !source->config().tied_head;
    if (!table) work.bytes += static_cast<double>(source->stored_bytes(spec));
    if (spec.role == model::Role::kMatrix) {
      work.layer_weights += static_cast<double>(spec.rows * spec.cols);
    }
  }
  return work;
}

class Family {
 public:
  Family(const Options& options, const fs::path& model, const std::string& device)
      : options_(options),
        model_(model),
        device_(device),
        sizes_(sizes_of(options)),
        work_(work_of(model)) {}

  void add(Suite& suite) const {
    Benchmark pp = prompt_row("pp");
    pp.body = [*this](auto& s) {
      prompt(s, engine_of(model_, device_, options_.threads, sizes_), sizes_.prompt);
    };
    suite.push_back(std::move(pp));
    if (device_ == "cpu") {
      Benchmark first = prompt_row("first-pp");
      first.body = [*this](auto& s) { first_prompt(s, model_, options_); };
      suite.push_back(std::move(first));
    }
    Benchmark tg = row("tg" + std::to_string(sizes_.generated), sizes_.generated);
    bound_by_reading(tg, sizes_.generated);
    tg.manual_time = true;
    tg.body = [*this](auto& s) {
      generate(s, engine_of(model_, device_, options_.threads, sizes_), sizes_.generated);
    };
    suite.push_back(std::move(tg));
    for (int batch = 1; batch <= sizes_.most_sequences; batch *= 4) add_batch(suite, batch);
  }

 private:
  Benchmark row(const std::string& test, double tokens) const {
    Benchmark row;
    row.name = "model/" + label_of(model_) + "/" + device_ + "/" + test;
    row.labels = {{"model", label_of(model_)},
                  {"test", test},
                  {"backend", device_ == "cpu" ? best_cpu() : device_},
                  {"threads", device_ == "cpu" ? std::to_string(options_.threads) : ""},
                  {"file_bytes", std::to_string(bytes_of(model_))}};
    row.amount = tokens;
    row.unit = "tokens";
    row.group = "model/" + label_of(model_) + device_;
    return row;
  }

  Benchmark prompt_row(const std::string& test) const {
    Benchmark prompt = row(test + std::to_string(sizes_.prompt), sizes_.prompt);
    const std::string peak = device_ == "cpu" ? int8_limit(best_cpu(), options_.threads) : "";
    if (!peak.empty()) prompt.bounds = {{peak, 2 * work_.layer_weights * sizes_.prompt}};
    prompt.manual_time = true;
    return prompt;
  }

  void bound_by_reading(Benchmark& row, int steps) const {
    const std::string limit = device_ == "cpu" ? read_limit(options_.threads) : kDeviceReadLimit;
    row.bounds = {{limit, work_.bytes * steps}};
  }

  void add_batch(Suite& suite, int batch) const {
    Benchmark step = row("tg" + std::to_string(sizes_.batch_steps) + "@" +
                             std::to_string(sizes_.prompt) + "/batch:" + std::to_string(batch),
                         sizes_.batch_steps * batch);
    bound_by_reading(step, sizes_.batch_steps);
    step.manual_time = true;
    step.labels["batch"] = std::to_string(batch);
    step.body = [*this, batch](auto& s) {
      batched(s, engine_of(model_, device_, options_.threads, sizes_), sizes_, batch);
    };
    suite.push_back(std::move(step));
  }

  Options options_;
  fs::path model_;
  std::string device_;
  Sizes sizes_;
  Work work_;
};

// ---- cold start

void read_cold(benchmark::State& state, const fs::path& model) {
  forget();
  for (auto _ : state) {
    state.counters["still_cached"] = drop_cached(model);
    state.SetIterationTime(read_files(model));
  }
}

// Open, map, check, ready; with `token`, up to the first token after a prompt of one.
void start(benchmark::State& state, const fs::path& model, int threads, bool cold, bool token) {
  forget();
  if (!cold) read_files(model);
  for (auto _ : state) {
    if (cold) state.counters["still_cached"] = drop_cached(model);
    const double begin = seconds_now();
    const auto engine = Engine::load(model, load_options("cpu", threads, 1, 512));
    if (token)
      engine->generate(random_ids(1, engine->info().vocabulary), generate_options(*engine, 1));
    state.SetIterationTime(seconds_now() - begin);
  }
}

void add_start(const fs::path& model, bool cold, const Options& options, Suite& suite) {
  const std::string label = label_of(model);
  const std::string cache = cold ? "cold" : "warm";
  const std::string limit = "limit/file/" + label;
  const auto bytes = static_cast<double>(bytes_of(model));
  const auto add = [&](std::string name, std::vector<Bound> bounds, auto body) {
    suite.push_back({.name = std::move(name),
                     .labels = {{"model", label},
                                {"cache", cache},
                                {"threads", std::to_string(options.threads)},
                                {"file_bytes", std::to_string(bytes_of(model))}},
                     .amount = bytes,
                     .unit = "bytes",
                     .bounds = std::move(bounds),
                     .group = "start/" + label,
                     .manual_time = true,
                     .body = std::move(body)});
  };
  const int threads = options.threads;
  if (cold) add(limit, {}, [=](auto& state) { read_cold(state, model); });
  add("start/" + label + "/ready/" + cache, {},
      [=](auto& state) { start(state, model, threads, cold, false); });
  const double read = work_of(model).bytes;
  const std::string bound = cold ? limit : read_limit(options.threads);
  add("start/" + label + "/first_token/" + cache, {{bound, read}},
      [=](auto& state) { start(state, model, threads, cold, true); });
}

}  // namespace

double first_prompt_seconds(const fs::path& model, const Options& options) {
  const Sizes sizes = sizes_of(options);
  const auto engine =
      Engine::load(model, load_options("cpu", options.threads, 1, context_of(sizes)));
  const std::vector<int32_t> ids = random_ids(sizes.prompt, engine->info().vocabulary);
  return engine->generate(ids, generate_options(*engine, 1)).prompt_seconds;
}

void add_models(const Options& options, Suite& suite) {
  for (const fs::path& model : options.models) {
    Family(options, model, "cpu").add(suite);
    if (has_device()) Family(options, model, "cuda").add(suite);
  }
}

void add_starts(const Options& options, Suite& suite) {
  for (const fs::path& model : options.models) {
    for (const bool cold : {false, true}) add_start(model, cold, options, suite);
  }
}

}  // namespace upg::bench
