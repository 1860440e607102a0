#include "cli/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "base/text.h"
#include "cli/cli.h"

namespace upg::cli {

Speed speed_of(const GenerateResult& result, const ModelInfo& info) {
  Speed speed;
  const int computed = result.prompt_tokens - result.cached_tokens;
  if (result.prompt_seconds > 0) speed.prompt_tokens_per_second = computed / result.prompt_seconds;
  // The first token comes out of the prompt's step; each later one is a step of its own.
  const auto steps = static_cast<double>(result.ids.size()) - 1;
  if (steps > 0 && result.generate_seconds > 0) {
    speed.tokens_per_second = steps / result.generate_seconds;
    speed.weight_gb_per_second =
        speed.tokens_per_second * static_cast<double>(info.weight_bytes) / 1e9;
  }
  return speed;
}

const char* finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCallback:
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "stop";
}

namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

PromptProgress::PromptProgress(bool quiet) : quiet_(quiet || ::isatty(STDERR_FILENO) != 1) {}

bool PromptProgress::operator()(int done, int total) {
  constexpr double kPatience = 2;  // seconds without a word
  const double now = now_seconds();
  if (start_ == 0) start_ = now;
  const double took = now - start_;
  if (!quiet_ && took > kPatience && done < total) {
    fmt::print(stderr, "\r\x1b[Kprompt {}/{} tokens, {:.0f} tok/s", done, total, done / took);
  }
  if (done >= total) {
    if (!quiet_ && took > kPatience) fmt::print(stderr, "\r\x1b[K");
    start_ = 0;  // the next prompt begins
  }
  return interrupt_signal == 0;
}

void print_plan(const MemoryPlan& plan) {
  const std::string layers =
      plan.device_layers == plan.layers
          ? "all layers"
          : fmt::format("the last {} of {} layers", plan.device_layers, plan.layers);
  print_note(
      fmt::format("{}: {}: weights {}, cache of {} x {} tokens {}, working memory {}; free "
                  "are {}",
                  plan.device, layers, base::format_bytes(plan.weight_bytes), plan.sequences,
                  plan.context, base::format_bytes(plan.cache_bytes),
                  base::format_bytes(plan.scratch_bytes), base::format_bytes(plan.free_bytes)));
}

void print_model(const ModelInfo& info) {
  const double bits = info.parameters == 0 ? 0
                                           : 8.0 * static_cast<double>(info.file_bytes) /
                                                 static_cast<double>(info.parameters);
  print_note(fmt::format("{}: {}, {:.1f} M parameters, {}, {} ({:.2f} bits a weight)",
                         base::printable(info.file), info.architecture,
                         static_cast<double>(info.parameters) / 1e6, info.profile,
                         base::format_bytes(info.file_bytes), bits));
  print_note(fmt::format("{}; context {} of {}, cache {}; ready in {:.0f} ms", info.backend,
                         info.context, info.model_context, base::format_bytes(info.cache_bytes),
                         1e3 * info.load_seconds));
}

void print_speed(const GenerateResult& result, const ModelInfo& info) {
  const Speed speed = speed_of(result, info);
  print_note(
      fmt::format("prompt {} tokens, {:.0f} tok/s ({} reused); first token after {:.0f} ms; "
                  "{} tokens written, {:.1f} tok/s, {:.2f} GB/s of weights; {}",
                  result.prompt_tokens, speed.prompt_tokens_per_second, result.cached_tokens,
                  1e3 * result.prompt_seconds, result.ids.size(), speed.tokens_per_second,
                  speed.weight_gb_per_second, finish_name(result.finish)));
}

}  // namespace upg::cli
