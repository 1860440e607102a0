// A model without weights, for tests and benchmarks of what lies above: bytes are its tokens, and
// what it writes is a function of what it has read.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <set>

#include "server/language_model.h"

namespace upg::server {

struct FakeOptions {
  int context = 4096;
  int pages = 4096;                   // of 32 tokens, shared by all sequences
  std::chrono::microseconds step{0};  // a step takes so long
  std::chrono::nanoseconds token{0};  // and each of its tokens so long
  std::string script = {};            // what every chat's answer says, without '>'; then it ends
};

// Tokens 0 to 255 are bytes, 256 ends a text. Without a script it writes letters without end, each
// a function of the tokens before it. It counts pages as the real cache does, forks included.
class FakeModel : public LanguageModel {
 public:
  static constexpr int32_t kEnd = 256;
  static constexpr int kPageTokens = 32;

  explicit FakeModel(const FakeOptions& options);

  const ModelInfo& info() const noexcept override { return info_; }
  SamplingOptions default_sampling() const override;
  std::vector<int32_t> encode(std::string_view text, bool add_special) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override;
  std::string_view token_bytes(int32_t id) const override;
  bool is_special(int32_t id) const override { return id >= kEnd; }
  std::string apply_chat_template(std::span<const ChatMessage> messages,
                                  std::string_view tools_json) const override;
  std::unique_ptr<Continuation> continuation(std::span<const int32_t> prompt,
                                             const GenerateOptions& options) const override;
  void cancel(SequenceId sequence) noexcept override;

  SequenceId create_sequence() override;
  SequenceId fork_sequence(SequenceId sequence, int tokens) override;
  void free_sequence(SequenceId sequence) override;
  std::vector<StepOutput> step(std::span<const StepInput> inputs) override;
  CacheUse cache_use() const override;

  // ---- for tests
  std::function<void(std::span<const StepInput>)> before_step;  // may throw
  int sequences() const;
  int64_t tokens_computed() const noexcept { return computed_; }

 private:
  struct Sequence {
    std::vector<int32_t> tokens;
    std::vector<int> pages;
    bool cancelled = false;
  };
  void grow(Sequence& sequence, int tokens);
  void release(Sequence& sequence, int tokens);
  int take_page();

  FakeOptions options_;
  ModelInfo info_;
  mutable std::mutex mutex_;
  std::map<SequenceId, Sequence> sequences_;
  std::vector<int> holders_;
  int free_pages_;
  SequenceId next_ = 1;
  std::vector<float> logits_;
  std::atomic<int64_t> computed_ = 0;
};

}  // namespace upg::server
