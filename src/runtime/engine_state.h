// What an engine holds, and the step on it. Private to the files that implement upg::Engine.
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "model/model.h"
#include "runtime/kv_cache.h"
#include "upg/engine.h"

namespace upg::runtime {

class Text;  // engine_text.h

// Its tokens are those whose keys and values are in the cache.
struct Sequence {
  int limit = 0;                        // tokens it may have
  const kernels::Rope* rope = nullptr;  // of the model
  PageTable pages;
  std::vector<int32_t> tokens;
  std::atomic<bool> cancelled = false;

  int length() const noexcept { return static_cast<int>(tokens.size()); }
};

struct EngineState {
  EngineState();
  ~EngineState();
  EngineState(const EngineState&) = delete;
  EngineState& operator=(const EngineState&) = delete;

  // In this order: what is below lies in the memory of what is above.
  std::unique_ptr<kernels::Backend> backend;  // computes the head
  std::unique_ptr<kernels::Backend> host;     // and this the first layers, where not all fit
  std::shared_ptr<const model::ModelSource> source;
  std::unique_ptr<model::Model> model;
  std::unique_ptr<KvCache> cache;
  std::unique_ptr<const Text> text;  // null: the file carries no tokenizer
  ModelInfo info;
  SamplingOptions sampling;

  // The stepping thread alone changes the map, under the mutex; it may read without it, cancel()
  // may not. A Sequence stays where it is.
  std::mutex mutex;
  std::map<SequenceId, Sequence> sequences;
  SequenceId next_id = 1;

  // Logits of the last step.
  std::unique_ptr<float[]> logits;
  size_t logits_capacity = 0;

  // The state is of no use after it throws.
  void load(const std::filesystem::path& path, const LoadOptions& options);
  void load(const std::filesystem::path& path, const LoadOptions& options,
            std::unique_ptr<kernels::Backend> on);
  void describe(int context, int host_layers);  // fills info

  // As upg::Engine's functions of these names say.
  SequenceId create(int planned_tokens);
  SequenceId fork(SequenceId id, int tokens);
  void free(SequenceId id);
  void truncate(SequenceId id, int tokens);
  void cancel(SequenceId id) noexcept;
  std::vector<StepOutput> step(std::span<const StepInput> inputs);
  std::vector<float> forward(std::span<const int32_t> ids);
  GenerateResult generate(std::span<const int32_t> prompt, const GenerateOptions& options,
                          const Engine::TokenCallback& on_token);
  GenerateResult generate(SequenceId id, std::span<const int32_t> prompt,
                          const GenerateOptions& options, const Engine::TokenCallback& on_token);

  // Throws Error(kUsage) unless the sequence has that many tokens.
  void check_length(SequenceId id, int tokens);
  Sequence& find(SequenceId id);     // throws Error(kUsage) when there is none of that number
  const Text& require_text() const;  // throws Error(kUnsupported) when there is no tokenizer
};

// Throws Error(kUsage) naming both numbers unless 1 to `room` tokens are given.
void check_prompt(std::string_view what, size_t tokens, int room);

// A sequence that ends with its scope.
class OwnSequence {
 public:
  OwnSequence(EngineState& engine, int planned_tokens)
      : engine_(engine), id_(engine.create(planned_tokens)) {}
  ~OwnSequence() { engine_.free(id_); }
  OwnSequence(const OwnSequence&) = delete;
  OwnSequence& operator=(const OwnSequence&) = delete;
  SequenceId id() const noexcept { return id_; }

 private:
  EngineState& engine_;
  SequenceId id_;
};

}  // namespace upg::runtime

struct upg::Engine::Impl : upg::runtime::EngineState {};
