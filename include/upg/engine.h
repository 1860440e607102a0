// Running a model: load it, step over a batch of sequences, and on top of that forward() and
// generate().
//
//   auto engine = upg::Engine::load("phi-4.upg");
//   upg::GenerateOptions options;
//   options.max_tokens = 100;
//   engine->generate("It was a dark and stormy night", options,
//                    [](const upg::GeneratedToken& token) { std::cout << token.text; return true;
//                    });
//
// Errors are thrown as upg::Error (error.h). Thread-safety is said at each function.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "upg/error.h"

namespace upg {

// What loading is about to take of a device's memory, in bytes.
struct MemoryPlan {
  std::string device;  // one line: which
  uint64_t free_bytes = 0;
  uint64_t weight_bytes = 0;
  uint64_t cache_bytes = 0;
  uint64_t scratch_bytes = 0;
  int layers = 0;         // of the model
  int device_layers = 0;  // of them there; the others, and the embedding, stay on the CPU
  int context = 0;        // tokens a sequence may have
  int sequences = 0;
};

struct LoadOptions {
  std::string device = "auto";       // auto, cpu, reference, cuda, cuda:N
  std::string cpu = {};              // an instruction set by name; empty: UPG_CPU, else the best
  int threads = 0;                   // 0: the physical cores this process may use
  std::string activations = "int8";  // int8, f32 (reference only: the oracle for what int8 costs)
  std::string fusion = "token";      // cuda: none, layer, token (what one launch does at batch 1)
  std::string cache_type_k = "f16";  // f32, f16, q8_0
  std::string cache_type_v = "f16";
  int context = 0;     // tokens a sequence may have; 0: the model's, capped by memory
  int sequences = 1;   // how many full contexts the cache has room for
  int chunk = 512;     // tokens a step processes at once
  bool mlock = false;  // the weights stay in memory, whatever else needs it
  // cuda: how many layers, the last ones, are computed there: a number, all, or auto (what fits)
  std::string gpu_layers = "auto";
  // Called before weights go to a device's memory.
  std::function<void(const MemoryPlan& plan)> on_plan = {};
};

struct ModelInfo {
  std::string file;
  std::string architecture;  // "Phi3ForCausalLM"
  std::string profile;       // "10x"; "checkpoint" for an uncompressed folder
  uint64_t parameters = 0;
  uint64_t file_bytes = 0;    // of the UPG file, or of the checkpoint's weights
  uint64_t weight_bytes = 0;  // read for one generated token (all but the embedding table)
  uint64_t cache_bytes = 0;   // KV cache at full context
  int layers = 0;
  int hidden = 0;
  int vocabulary = 0;
  int context = 0;                // tokens a sequence may have here
  int model_context = 0;          // tokens the model was made for
  std::string backend;            // one line: what computes, with how many threads
  std::string chat_template;      // name of the table's row; empty: unknown
  std::vector<int32_t> stop_ids;  // end of text and end of turn
  double load_seconds = 0;
};

// The sampler chain in its order: penalties, logit bias, top-k, top-p, min-p, temperature.
// Temperature 0 is greedy: penalties and bias apply, nothing else does.
struct SamplingOptions {
  float temperature = 0.8f;     // >= 0
  int top_k = 40;               // 0: off
  float top_p = 0.95f;          // 1: off
  float min_p = 0.05f;          // 0: off
  float repeat_penalty = 1.0f;  // 1: off; over the last repeat_last_n tokens
  int repeat_last_n = 64;       // 0: off, -1: the whole context
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::vector<std::pair<int32_t, float>> logit_bias;
  uint64_t seed = 0;  // same seed, same text
};

// Which tokens may come next: the state of one answer's structure (a JSON schema, say).
class TokenFilter {
 public:
  virtual ~TokenFilter() = default;
  virtual bool allows(int32_t id) const = 0;             // the ids that end a text included
  virtual void mask(std::span<float> logits) const = 0;  // -infinity for what it does not allow
  virtual void accept(int32_t id) = 0;                   // `id` came
  virtual bool ended() const = 0;                        // nothing may follow: the text is whole
};

struct GenerateOptions {
  SamplingOptions sampling;
  int max_tokens = -1;            // -1: to the end of text or of the context
  std::vector<std::string> stop;  // generation ends before any of these
  bool ignore_end_of_text = false;
  bool show_special = false;  // special tokens as text, all but those that end it
  // Used for one answer. What it rules out is drawn anew among the rest, which keeps the
  // distribution.
  std::shared_ptr<TokenFilter> filter = {};
  // Called after each chunk of the prompt with how much of it is done, what was cached included;
  // generation ends when it returns false.
  std::function<bool(int done, int total)> on_prompt = {};
};

struct GeneratedToken {
  int32_t id = 0;
  std::string_view text;  // whole characters only; may be empty while one is incomplete
};

enum class FinishReason { kStop, kLength, kCallback, kCancelled };

struct GenerateResult {
  std::string text;
  std::vector<int32_t> ids;
  FinishReason finish = FinishReason::kStop;
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt, reused from the sequence's cache
  double prompt_seconds = 0;
  double generate_seconds = 0;
};

// One answer as it comes, for callers of step(): from logits to a token, from tokens to text. What
// generate() is made of. One thread at a time.
class Continuation {
 public:
  struct Next {
    int32_t id = 0;
    bool part_of_text = true;            // false: it ends the text
    std::string text;                    // whole characters, no part of a stop string; may be empty
    std::optional<FinishReason> finish;  // nothing follows; kStop or kLength
  };

  virtual ~Continuation() = default;
  // logits: [vocabulary], those after the newest token; none where the step has chosen already (see
  // StepInput). Throws Error(kInvalidData) when they are no numbers.
  virtual Next next(std::span<const float> logits) = 0;
  // The text held back, when no token follows for other reasons.
  virtual std::string rest() = 0;
};

using SequenceId = int64_t;

enum class StepWant : uint8_t { kLastLogits, kAllLogits, kHidden, kNothing };

struct StepInput {
  SequenceId sequence = 0;
  std::span<const int32_t> tokens;  // new tokens, at least one
  StepWant want = StepWant::kLastLogits;
  // With kLastLogits: the values go to its next(), so the step may choose the token where the
  // logits are. Then `values` is empty, and next() knows.
  Continuation* continuation = nullptr;
};

struct StepOutput {
  SequenceId sequence = 0;
  // [1 or tokens, vocabulary]; kHidden: of every token what the head reads, [tokens, hidden].
  // Valid until the next step.
  std::span<const float> values;
  std::optional<Error> error;  // this sequence failed or was cancelled; the others did not
};

// Pages of the KV cache; a sequence of n tokens holds n / page_tokens of them, rounded up.
struct CacheUse {
  int pages = 0;
  int free_pages = 0;
  int page_tokens = 0;
};

// A call of a tool that the assistant wrote.
struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON text of an object
};

struct ChatMessage {
  std::string role;  // system (or developer, the same), user, assistant, tool
  std::string content;
  std::vector<ToolCall> tool_calls = {};  // of an assistant
  std::string tool_call_id = {};          // of a tool: the call whose result this is
};

class Engine {
 public:
  // `path`: a UPG file or a checkpoint folder.
  static std::unique_ptr<Engine> load(const std::filesystem::path& path,
                                      const LoadOptions& options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ModelInfo& info() const noexcept;  // thread-safe
  // The model's own sampling defaults (generation_config.json) over those of SamplingOptions.
  SamplingOptions default_sampling() const;

  // ---- text; thread-safe. Throw kUnsupported when the file carries no tokenizer or template.
  std::vector<int32_t> encode(std::string_view text, bool add_special = true) const;
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;
  // The bytes a token stands for: no whole characters, maybe. Empty for an unknown id.
  std::string_view token_bytes(int32_t id) const;
  bool is_special(int32_t id) const;
  // The conversation as the model's template writes it, up to where the assistant speaks.
  // template_name: a row of the table; empty: the model's own. tools_json: the tools it may call,
  // as OpenAI's `tools` has them; empty: none.
  std::string apply_chat_template(std::span<const ChatMessage> messages,
                                  std::string_view template_name = {},
                                  std::string_view tools_json = {}) const;

  // ---- sequences. One thread at a time, cancel() from any.
  // planned_tokens: how long it will get at most (0: the context); decides longrope's factors.
  // Throws kOutOfMemory when the cache has no room for what is planned (0: for a first page) at
  // this moment. Nothing is reserved: sequences may plan more together than the cache holds, and
  // step() then fails the one that comes too late.
  SequenceId create_sequence(int planned_tokens = 0);
  // A new sequence that begins with the first `tokens` tokens of another, in the same memory: only
  // what is written later takes pages. It keeps the other's plan.
  SequenceId fork_sequence(SequenceId sequence, int tokens);
  void free_sequence(SequenceId sequence);
  int sequence_length(SequenceId sequence) const;
  void truncate_sequence(SequenceId sequence, int tokens);  // forgets what follows
  // Any thread: the sequence's part of the running step ends at the next chunk, and every later
  // step reports kCancelled for it until it is freed.
  void cancel(SequenceId sequence) noexcept;

  // One step: appends each input's tokens to its sequence. Outputs in the order of the inputs. A
  // sequence occurs once. One that cannot go on (cancelled, context or cache full, bad token) has
  // its error in its output and is left as it was before.
  std::vector<StepOutput> step(std::span<const StepInput> inputs);
  CacheUse cache_use() const;

  // Thread-safe; the engine must outlive it. prompt: what penalties look back on, and what the
  // answer must fit into the context with. Throws Error(kUsage) for options out of range.
  std::unique_ptr<Continuation> continuation(std::span<const int32_t> prompt,
                                             const GenerateOptions& options) const;

  // ---- on top of step(). One thread at a time.
  // Logits of every position, [ids.size(), vocabulary], in a sequence of its own.
  std::vector<float> forward(std::span<const int32_t> ids);
  // Calls on_token for each token; generation ends when it returns false.
  using TokenCallback = std::function<bool(const GeneratedToken&)>;
  GenerateResult generate(std::string_view prompt, const GenerateOptions& options = {},
                          const TokenCallback& on_token = {});
  GenerateResult generate(std::span<const int32_t> prompt, const GenerateOptions& options = {},
                          const TokenCallback& on_token = {});
  // The same in a sequence of the caller's, which keeps prompt and answer: what it already holds of
  // `prompt` is not computed again.
  GenerateResult generate(SequenceId sequence, std::span<const int32_t> prompt,
                          const GenerateOptions& options = {}, const TokenCallback& on_token = {});

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace upg
