// What the server needs of a model: text on one side, steps on the other. EngineModel is the real
// one; tests and benchmarks of what lies above bring their own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "upg/engine.h"

namespace upg::server {

// Each function as upg::Engine's of that name says, its thread-safety included.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  // ---- from any thread
  virtual const ModelInfo& info() const noexcept = 0;
  virtual SamplingOptions default_sampling() const = 0;
  virtual std::vector<int32_t> encode(std::string_view text, bool add_special) const = 0;
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special) const = 0;
  virtual std::string_view token_bytes(int32_t id) const = 0;
  virtual bool is_special(int32_t id) const = 0;
  virtual std::string apply_chat_template(std::span<const ChatMessage> messages,
                                          std::string_view tools_json) const = 0;
  virtual std::unique_ptr<Continuation> continuation(std::span<const int32_t> prompt,
                                                     const GenerateOptions& options) const = 0;
  virtual void cancel(SequenceId sequence) noexcept = 0;

  // ---- from the scheduler's thread
  virtual SequenceId create_sequence() = 0;
  virtual SequenceId fork_sequence(SequenceId sequence, int tokens) = 0;
  virtual void free_sequence(SequenceId sequence) = 0;
  virtual std::vector<StepOutput> step(std::span<const StepInput> inputs) = 0;
  virtual CacheUse cache_use() const = 0;
};

// A model on an engine of its own.
std::unique_ptr<LanguageModel> make_engine_model(std::unique_ptr<Engine> engine);

}  // namespace upg::server
