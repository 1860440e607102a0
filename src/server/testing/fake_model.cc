#include "server/testing/fake_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>

#include "base/text.h"
#include "runtime/stop_filter.h"

namespace upg::server {
namespace {

constexpr int kVocabulary = 257;
constexpr int kHidden = 4;

const std::array<char, 256>& all_bytes() {
  static const std::array<char, 256> bytes = [] {
    std::array<char, 256> table{};
    for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<char>(i);
    return table;
  }();
  return bytes;
}

// Of the last tokens and of how many there are.
int32_t letter_after(std::span<const int32_t> past) {
  uint32_t hash = static_cast<uint32_t>(past.size());
  for (const int32_t id : past.last(std::min<size_t>(past.size(), 32))) {
    hash = hash * 31 + static_cast<uint32_t>(id);
  }
  return 'a' + static_cast<int32_t>(hash % 26);
}

// The likeliest token, or the filter's choice of the others; whole characters, stop strings.
class FakeContinuation : public Continuation {
 public:
  FakeContinuation(size_t prompt, const GenerateOptions& options, int context)
      : options_(options), stops_(options.stop) {
    const int room = context - static_cast<int>(prompt) + 1;
    most_ = options.max_tokens < 0 ? room : std::min(room, options.max_tokens);
  }

  Next next(std::span<const float> logits) override {
    Next next;
    next.id = choose(logits);
    if (next.id == FakeModel::kEnd && !options_.ignore_end_of_text) {
      next.part_of_text = false;
      next.text = rest();
      next.finish = FinishReason::kStop;
      return next;
    }
    ++count_;
    if (next.id < 256) bytes_ += static_cast<char>(next.id);
    const size_t whole = base::valid_utf8_prefix(bytes_);
    next.text = stops_.push(bytes_.substr(0, whole));
    bytes_.erase(0, whole);
    const bool ended = options_.filter && options_.filter->ended();
    if (ended || count_ >= most_) {
      next.finish = ended ? FinishReason::kStop : FinishReason::kLength;
      next.text += rest();
    }
    if (stops_.stopped()) next.finish = FinishReason::kStop;
    return next;
  }

  std::string rest() override { return stops_.finish(); }

 private:
  int32_t choose(std::span<const float> logits) {
    const auto likeliest = [](std::span<const float> of) {
      return static_cast<int32_t>(std::max_element(of.begin(), of.end()) - of.begin());
    };
    int32_t id = likeliest(logits);
    if (!options_.filter) return id;
    if (!options_.filter->allows(id)) {
      std::vector<float> masked(logits.begin(), logits.end());
      options_.filter->mask(masked);
      id = likeliest(masked);
    }
    options_.filter->accept(id);
    return id;
  }

  GenerateOptions options_;
  runtime::StopFilter stops_;
  std::string bytes_;
  int most_ = 0;
  int count_ = 0;
};

}  // namespace

FakeModel::FakeModel(const FakeOptions& options)
    : options_(options), holders_(static_cast<size_t>(options.pages)), free_pages_(options.pages) {
  info_.file = "fake";
  info_.architecture = "Fake";
  info_.profile = "fake";
  info_.hidden = kHidden;
  info_.vocabulary = kVocabulary;
  info_.context = info_.model_context = options.context;
  info_.chat_template = "fake";
  info_.stop_ids = {kEnd};
}

SamplingOptions FakeModel::default_sampling() const {
  SamplingOptions sampling;
  sampling.temperature = 0;
  return sampling;
}

std::vector<int32_t> FakeModel::encode(std::string_view text, bool) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::string FakeModel::decode(std::span<const int32_t> ids, bool) const {
  std::string text;
  for (const int32_t id : ids) text += token_bytes(id);
  return base::valid_utf8_prefix(text) == text.size() ? text : "\xef\xbf\xbd";
}

std::string_view FakeModel::token_bytes(int32_t id) const {
  if (id < 0 || id >= kEnd) return {};
  return {&all_bytes()[static_cast<size_t>(id)], 1};
}

std::string FakeModel::apply_chat_template(std::span<const ChatMessage> messages,
                                           std::string_view tools_json) const {
  std::string text(tools_json);
  for (const ChatMessage& message : messages) {
    text += fmt::format("<{}>{}\n", message.role, message.content);
  }
  return text + "<assistant>";
}

std::unique_ptr<Continuation> FakeModel::continuation(std::span<const int32_t> prompt,
                                                      const GenerateOptions& options) const {
  return std::make_unique<FakeContinuation>(prompt.size(), options, options_.context);
}

void FakeModel::cancel(SequenceId id) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = sequences_.find(id);
  if (found != sequences_.end()) found->second.cancelled = true;
}

SequenceId FakeModel::create_sequence() {
  const std::lock_guard lock(mutex_);
  if (free_pages_ == 0) throw Error(ErrorCode::kOutOfMemory, "fake: no page is free");
  sequences_[next_];
  return next_++;
}

SequenceId FakeModel::fork_sequence(SequenceId id, int tokens) {
  const std::lock_guard lock(mutex_);
  const Sequence from = sequences_.at(id);
  Sequence& fork = sequences_[next_];
  fork.tokens.assign(from.tokens.begin(), from.tokens.begin() + tokens);
  const int pages = (tokens + kPageTokens - 1) / kPageTokens;
  fork.pages.assign(from.pages.begin(), from.pages.begin() + pages);
  for (const int page : fork.pages) ++holders_[static_cast<size_t>(page)];
  return next_++;
}

void FakeModel::release(Sequence& sequence, int tokens) {
  const auto keep = static_cast<size_t>((tokens + kPageTokens - 1) / kPageTokens);
  while (sequence.pages.size() > keep) {
    if (--holders_[static_cast<size_t>(sequence.pages.back())] == 0) ++free_pages_;
    sequence.pages.pop_back();
  }
  sequence.tokens.resize(static_cast<size_t>(tokens));
}

void FakeModel::free_sequence(SequenceId id) {
  const std::lock_guard lock(mutex_);
  release(sequences_.at(id), 0);
  sequences_.erase(id);
}

int FakeModel::take_page() {
  const auto free = std::find(holders_.begin(), holders_.end(), 0);
  *free = 1;
  --free_pages_;
  return static_cast<int>(free - holders_.begin());
}

// Throws when the pages do not suffice; a shared page that is written becomes a copy.
void FakeModel::grow(Sequence& sequence, int tokens) {
  const int past = static_cast<int>(sequence.tokens.size());
  const auto needed = static_cast<size_t>((past + tokens + kPageTokens - 1) / kPageTokens);
  const auto first = static_cast<size_t>(past / kPageTokens);
  const bool copy =
      first < sequence.pages.size() && holders_[static_cast<size_t>(sequence.pages[first])] > 1;
  const auto missing = static_cast<int>(needed - sequence.pages.size()) + (copy ? 1 : 0);
  if (missing > free_pages_) throw Error(ErrorCode::kOutOfMemory, "fake: KV cache full");
  if (copy) {
    --holders_[static_cast<size_t>(sequence.pages[first])];
    sequence.pages[first] = take_page();
  }
  while (sequence.pages.size() < needed) sequence.pages.push_back(take_page());
}

std::vector<StepOutput> FakeModel::step(std::span<const StepInput> inputs) {
  if (before_step) before_step(inputs);
  size_t rows = 0;
  size_t tokens = 0;
  for (const StepInput& input : inputs) {
    rows += input.want == StepWant::kLastLogits ? 1 : input.tokens.size();
    tokens += input.tokens.size();
  }
  const auto pause = options_.step + std::chrono::duration_cast<std::chrono::microseconds>(
                                         options_.token * static_cast<int64_t>(tokens));
  if (pause.count() > 0) std::this_thread::sleep_for(pause);
  logits_.assign(rows * kVocabulary, 0);
  float* next = logits_.data();
  std::vector<StepOutput> outputs;
  const std::lock_guard lock(mutex_);
  for (const StepInput& input : inputs) {
    StepOutput& output = outputs.emplace_back();
    output.sequence = input.sequence;
    Sequence& sequence = sequences_.at(input.sequence);
    try {
      if (sequence.cancelled) throw Error(ErrorCode::kCancelled, "fake: cancelled");
      if (sequence.tokens.size() + input.tokens.size() > static_cast<size_t>(options_.context)) {
        throw Error(ErrorCode::kUsage, "fake: context full");
      }
      grow(sequence, static_cast<int>(input.tokens.size()));
    } catch (const Error& error) {
      output.error = error;
      continue;
    }
    computed_ += static_cast<int64_t>(input.tokens.size());
    const auto write = [&](const std::vector<int32_t>& past) {
      const std::string& script = options_.script;
      int32_t wanted = kEnd;
      if (script.empty()) {
        wanted = letter_after(past);
      } else {
        // How far the script is: the bytes after the last '>' of the template.
        const auto mark = std::find(past.rbegin(), past.rend(), int32_t{'>'});
        const auto done = static_cast<size_t>(mark - past.rbegin());
        if (done < script.size()) wanted = static_cast<unsigned char>(script[done]);
      }
      next[wanted] = 10;
      next[(wanted + 1) % kVocabulary] = 8;
    };
    float* first = next;
    for (size_t i = 0; i < input.tokens.size(); ++i) {
      sequence.tokens.push_back(input.tokens[i]);
      const bool last = i + 1 == input.tokens.size();
      switch (input.want) {
        case StepWant::kLastLogits:
          if (!last) break;
          [[fallthrough]];
        case StepWant::kAllLogits:
          write(sequence.tokens);
          next += kVocabulary;
          break;
        case StepWant::kHidden:
          next[input.tokens[i] % kHidden] = 1;
          next += kHidden;
          break;
        case StepWant::kNothing:
          break;
      }
    }
    output.values = {first, next};
  }
  return outputs;
}

CacheUse FakeModel::cache_use() const {
  const std::lock_guard lock(mutex_);
  return {options_.pages, free_pages_, kPageTokens};
}

int FakeModel::sequences() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(sequences_.size());
}

}  // namespace upg::server
