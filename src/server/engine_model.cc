#include <utility>

#include "server/language_model.h"

namespace upg::server {
namespace {

class EngineModel : public LanguageModel {
 public:
  explicit EngineModel(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}

  const ModelInfo& info() const noexcept override { return engine_->info(); }
  SamplingOptions default_sampling() const override { return engine_->default_sampling(); }
  std::vector<int32_t> encode(std::string_view text, bool add_special) const override {
    return engine_->encode(text, add_special);
  }
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    return engine_->decode(ids, skip_special);
  }
  std::string_view token_bytes(int32_t id) const override { return engine_->token_bytes(id); }
  bool is_special(int32_t id) const override { return engine_->is_special(id); }
  std::string apply_chat_template(std::span<const ChatMessage> messages,
                                  std::string_view tools_json) const override {
    return engine_->apply_chat_template(messages, {}, tools_json);
  }
  std::unique_ptr<Continuation> continuation(std::span<const int32_t> prompt,
                                             const GenerateOptions& options) const override {
    return engine_->continuation(prompt, options);
  }
  void cancel(SequenceId sequence) noexcept override { engine_->cancel(sequence); }

  SequenceId create_sequence() override { return engine_->create_sequence(); }
  SequenceId fork_sequence(SequenceId sequence, int tokens) override {
    return engine_->fork_sequence(sequence, tokens);
  }
  void free_sequence(SequenceId sequence) override { engine_->free_sequence(sequence); }
  std::vector<StepOutput> step(std::span<const StepInput> inputs) override {
    return engine_->step(inputs);
  }
  CacheUse cache_use() const override { return engine_->cache_use(); }

 private:
  std::unique_ptr<Engine> engine_;
};

}  // namespace

std::unique_ptr<LanguageModel> make_engine_model(std::unique_ptr<Engine> engine) {
  return std::make_unique<EngineModel>(std::move(engine));
}

}  // namespace upg::server
