// upg::Engine: the public face of EngineState and Text.
#include <fmt/format.h>

#include <utility>

#include "base/text.h"
#include "runtime/continuation.h"
#include "runtime/engine_state.h"
#include "runtime/engine_text.h"

namespace upg {

const runtime::Text& runtime::EngineState::require_text() const {
  if (text) return *text;
  throw Error(ErrorCode::kUnsupported,
              fmt::format("{}: it carries no tokenizer (tokenizer.json): only token ids will do",
                          base::printable(info.file)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

std::unique_ptr<Engine> Engine::load(const std::filesystem::path& path,
                                     const LoadOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->load(path, options);
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

const ModelInfo& Engine::info() const noexcept { return impl_->info; }

SamplingOptions Engine::default_sampling() const { return impl_->sampling; }

// ---- text

std::vector<int32_t> Engine::encode(std::string_view text, bool add_special) const {
  return impl_->require_text().tokenizer().encode(text, add_special);
}

std::string Engine::decode(std::span<const int32_t> ids, bool skip_special) const {
  return impl_->require_text().tokenizer().decode(ids, skip_special);
}

std::string_view Engine::token_bytes(int32_t id) const {
  return impl_->require_text().tokenizer().piece(id);
}

bool Engine::is_special(int32_t id) const {
  return impl_->require_text().tokenizer().is_special(id);
}

std::string Engine::apply_chat_template(std::span<const ChatMessage> messages,
                                        std::string_view template_name,
                                        std::string_view tools_json) const {
  const runtime::Text* text = impl_->text.get();
  return runtime::apply_chat_template(text ? text->chat_template() : nullptr, template_name,
                                      messages, tools_json, impl_->info.file);
}

// ---- sequences

SequenceId Engine::create_sequence(int planned_tokens) { return impl_->create(planned_tokens); }

SequenceId Engine::fork_sequence(SequenceId sequence, int tokens) {
  return impl_->fork(sequence, tokens);
}

void Engine::free_sequence(SequenceId sequence) { impl_->free(sequence); }

int Engine::sequence_length(SequenceId sequence) const { return impl_->find(sequence).length(); }

void Engine::truncate_sequence(SequenceId sequence, int tokens) {
  impl_->truncate(sequence, tokens);
}

void Engine::cancel(SequenceId sequence) noexcept { impl_->cancel(sequence); }

std::vector<StepOutput> Engine::step(std::span<const StepInput> inputs) {
  return impl_->step(inputs);
}

CacheUse Engine::cache_use() const {
  const runtime::KvCache& cache = *impl_->cache;
  return {cache.pages(), cache.free_pages(), kernels::kPageTokens};
}

std::unique_ptr<Continuation> Engine::continuation(std::span<const int32_t> prompt,
                                                   const GenerateOptions& options) const {
  runtime::check_prompt("prompt", prompt.size(), impl_->info.context);
  return std::make_unique<runtime::TextContinuation>(impl_->text.get(), impl_->info, prompt,
                                                     options, impl_->info.context);
}

// ---- on top of step()

std::vector<float> Engine::forward(std::span<const int32_t> ids) { return impl_->forward(ids); }

GenerateResult Engine::generate(std::string_view prompt, const GenerateOptions& options,
                                const TokenCallback& on_token) {
  return generate(impl_->require_text().tokenizer().encode(prompt, true), options, on_token);
}

GenerateResult Engine::generate(std::span<const int32_t> prompt, const GenerateOptions& options,
                                const TokenCallback& on_token) {
  return impl_->generate(prompt, options, on_token);
}

GenerateResult Engine::generate(SequenceId sequence, std::span<const int32_t> prompt,
                                const GenerateOptions& options, const TokenCallback& on_token) {
  return impl_->generate(sequence, prompt, options, on_token);
}

}  // namespace upg
