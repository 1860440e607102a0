#include "server/api/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <ctime>
#include <random>
#include <utility>

#include "base/json.h"
#include "server/api/tools.h"

namespace upg::server {
namespace {

constexpr std::chrono::seconds kKeepAlive{15};

std::string random_id(std::string_view kind) {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{}-{:016x}{:08x}", kind, random(), static_cast<uint32_t>(random()));
}

class Answer : public std::enable_shared_from_this<Answer> {
 public:
  Answer(Api& api, http::ExchangePointer exchange, ServedModelPointer model, ApiRequest request,
         std::vector<std::vector<int32_t>> prompts);
  void start();

 private:
  struct Choice {
    ChoiceText text;
    bool begun = false;                // streamed: its first delta was sent
    size_t shown = 0;                  // completions: bytes of text sent, for the offsets
    std::vector<TokenLogprob> unsent;  // logprobs of pieces whose text is held back
    std::optional<tokenizer::ToolCallParser> parser;  // where tools may be called
    std::vector<CollectedCall> calls;
  };

  void receive(std::vector<GenerationEvent>& events);
  void take(int index, PromptLogprobs& logprobs);
  void take(int index, GeneratedPiece& piece);
  void take_text(Choice& choice, std::string_view text);
  void take_event(Choice& choice, const tokenizer::ToolEvent& event);
  void finish_calls(Choice& choice);
  void take(int index, GenerationResult& result);
  void count(int index, const GenerationResult& result);
  void fail(const ApiError& error);
  void cancel();
  void finish();

  // ---- as a whole
  void send_whole();
  std::string whole_choice(const Choice& choice) const;

  // ---- piece by piece
  void begin_stream();
  void send_delta(Choice& choice, std::string_view text);
  void send_part(Choice& choice, std::string_view delta);
  void send_end(Choice& choice);
  void end_stream();
  std::string chunk(const Choice& choice, std::string_view delta, std::string_view logprobs,
                    std::string_view finish_reason) const;
  void keep_alive();

  bool is_chat() const { return request_.route == Route::kChat; }

  Api& api_;
  http::ExchangePointer exchange_;
  ServedModelPointer model_;
  ApiRequest request_;
  std::vector<std::vector<int32_t>> prompts_;
  AnswerHead head_;
  std::string chunk_head_;
  std::vector<JobHandle> jobs_;
  std::vector<Choice> choices_;
  AnswerUsage usage_;
  int unfinished_ = 0;
  bool streaming_ = false;  // the head of the stream was sent
  bool done_ = false;
  std::string out_;  // of the stream, until all that has come is in it
  boost::asio::steady_timer timer_;
};

Answer::Answer(Api& api, http::ExchangePointer exchange, ServedModelPointer model,
               ApiRequest request, std::vector<std::vector<int32_t>> prompts)
    : api_(api),
      exchange_(std::move(exchange)),
      model_(std::move(model)),
      request_(std::move(request)),
      prompts_(std::move(prompts)),
      timer_(api.loop) {
  head_.id = random_id(is_chat() ? "chatcmpl" : "cmpl");
  head_.created = static_cast<int64_t>(std::time(nullptr));
  head_.model = model_->id;
  const char* object = !is_chat()        ? "text_completion"
                       : request_.stream ? "chat.completion.chunk"
                                         : "chat.completion";
  chunk_head_ = fmt::format(
      R"({{"id":"{}","object":"{}","created":{},"model":{},"system_fingerprint":"upg",)", head_.id,
      object, head_.created, base::json_quote(head_.model));
  const size_t each = static_cast<size_t>(request_.choices);
  choices_.resize(prompts_.size() * each);
  for (size_t i = 0; i < choices_.size(); ++i) {
    choices_[i].text.index = static_cast<int>(i);
    if (const ToolUse* use = request_.tool_use.get()) {
      choices_[i].parser.emplace(*use->format, use->names);
      if (use->forced) choices_[i].parser->push(use->format->prefix);
    }
    const std::vector<int32_t>& prompt = prompts_[i / each];
    if (!request_.echo) continue;
    choices_[i].text.prompt = &prompt;
    choices_[i].text.text = model_->model->decode(prompt, true);
  }
  unfinished_ = static_cast<int>(choices_.size());
}

// Throws ApiError when the queue is full.
void Answer::start() {
  const auto self = shared_from_this();
  const auto queue = std::make_shared<EventQueue>(
      api_.loop, request_.stream,
      [self](std::vector<GenerationEvent>& events) { self->receive(events); });
  GenerationRequest generation = request_.generation;
  if (api_.options.request_timeout.count() > 0) {
    generation.deadline = Clock::now() + api_.options.request_timeout;
  }
  std::vector<GenerationRequest> requests;
  for (const std::vector<int32_t>& prompt : prompts_) {
    requests.push_back(generation);
    requests.back().prompt = prompt;
  }
  jobs_ = model_->scheduler.submit(requests, request_.choices, queue);
  if (jobs_.empty()) throw queue_full();
  exchange_->on_disconnect([self] { self->cancel(); });
  if (request_.stream) keep_alive();
}

void Answer::receive(std::vector<GenerationEvent>& events) {
  for (GenerationEvent& event : events) {
    std::visit([&](auto& what) { take(event.choice, what); }, event.what);
  }
  if (unfinished_ == 0) return finish();
  if (out_.empty() || done_) return;
  if (!exchange_->send(out_)) cancel();
  out_.clear();
}

void Answer::take(int index, PromptLogprobs& logprobs) {
  if (done_) return;
  Choice& choice = choices_[static_cast<size_t>(index)];
  choice.text.prompt_logprobs = std::move(logprobs);
  if (request_.stream) send_delta(choice, "");
}

void Answer::take(int index, GeneratedPiece& piece) {
  if (done_) return;
  Choice& choice = choices_[static_cast<size_t>(index)];
  if (piece.logprob) {
    (request_.stream ? choice.unsent : choice.text.logprobs).push_back(std::move(*piece.logprob));
  }
  if (!choice.parser) return take_text(choice, piece.text);
  for (const auto& event : choice.parser->push(piece.text)) take_event(choice, event);
}

void Answer::take_text(Choice& choice, std::string_view text) {
  if (!request_.stream) {
    choice.text.text += text;
  } else if (!text.empty() || !choice.unsent.empty()) {
    send_delta(choice, text);
  }
}

void Answer::take_event(Choice& choice, const tokenizer::ToolEvent& event) {
  using Kind = tokenizer::ToolEvent::Kind;
  if (event.kind == Kind::kContent) return take_text(choice, event.text);
  if (event.index > 0 && !request_.parallel_tool_calls) return;
  if (event.kind == Kind::kCallBegin) {
    choice.calls.push_back({random_id("call"), event.text, {}});
    if (request_.stream) send_part(choice, call_begin_delta(event.index, choice.calls.back()));
  } else if (event.kind == Kind::kArguments) {
    choice.calls[static_cast<size_t>(event.index)].arguments += event.text;
    if (request_.stream) send_part(choice, call_arguments_delta(event.index, event.text));
  }
}

// The end of the text, for the parser.
void Answer::finish_calls(Choice& choice) {
  if (!choice.parser) return;
  const ToolUse& use = *request_.tool_use;
  if (use.forced) {
    for (const auto& event : choice.parser->push(use.format->suffix)) take_event(choice, event);
  }
  for (const auto& event : choice.parser->finish()) take_event(choice, event);
}

void Answer::take(int index, GenerationResult& result) {
  Choice& choice = choices_[static_cast<size_t>(index)];
  --unfinished_;
  count(index, result);
  if (done_) return;
  if (result.error) return fail(generation_error(result));
  finish_calls(choice);
  choice.text.finish_reason = result.finish != FinishReason::kStop ? "length"
                              : choice.calls.empty()               ? "stop"
                                                                   : "tool_calls";
  if (request_.stream) send_end(choice);
}

void Answer::count(int index, const GenerationResult& result) {
  if (index % request_.choices == 0) {
    usage_.prompt_tokens += result.prompt_tokens;
    usage_.cached_tokens += result.cached_tokens;
  }
  usage_.completion_tokens += result.generated_tokens;
  if (index != 0) return;
  usage_.times = result.times;
  usage_.first_prompt_tokens = result.prompt_tokens;
  usage_.first_cached_tokens = result.cached_tokens;
  usage_.first_completion_tokens = result.generated_tokens;
}

// An answer that had begun ends with an error event, one that had not is an error as a whole.
void Answer::fail(const ApiError& error) {
  if (std::exchange(done_, true)) return;
  timer_.cancel();
  if (streaming_) {
    exchange_->send(fmt::format("{}data: {}\n\n", out_, error_json(error)));
    exchange_->end_stream();
  } else {
    respond_error(exchange_, error);
  }
  for (const JobHandle& job : jobs_) job.cancel();
}

void Answer::cancel() {
  done_ = true;
  timer_.cancel();
  for (const JobHandle& job : jobs_) job.cancel();
}

// Everything has come.
void Answer::finish() {
  timer_.cancel();
  if (!std::exchange(done_, true)) {
    request_.stream ? end_stream() : send_whole();
  }
  jobs_.clear();  // they hold the queue, which holds this
}

// ---- as a whole

void Answer::send_whole() {
  std::string body = chunk_head_ + R"("choices":[)";
  for (const Choice& choice : choices_) {
    if (choice.text.index > 0) body += ',';
    body += whole_choice(choice);
  }
  body += fmt::format(R"(],"usage":{},"timings":{}}})", usage_json(usage_), timings_json(usage_));
  respond_json(exchange_, std::move(body));
}

std::string Answer::whole_choice(const Choice& choice) const {
  const ChoiceText& text = choice.text;
  const LanguageModel& model = *model_->model;
  if (!is_chat()) {
    return fmt::format(R"({{"text":{},"index":{},"logprobs":{},"finish_reason":"{}"}})",
                       base::json_quote(text.text), text.index,
                       request_.logprobs ? completion_logprobs_json(model, text, 0) : "null",
                       text.finish_reason);
  }
  const bool calls = !choice.calls.empty();
  return fmt::format(
      R"({{"index":{},"message":{{"role":"assistant","content":{},"refusal":null{}}},)"
      R"("logprobs":{},"finish_reason":"{}"}})",
      text.index, calls && text.text.empty() ? "null" : base::json_quote(text.text),
      calls ? R"(,"tool_calls":)" + tool_calls_json(choice.calls) : "",
      request_.logprobs ? chat_logprobs_json(model, text.logprobs) : "null", text.finish_reason);
}

// ---- piece by piece

void Answer::begin_stream() {
  if (std::exchange(streaming_, true)) return;
  http::Response head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers.emplace_back("Cache-Control", "no-cache");
  head.headers.emplace_back("X-Accel-Buffering", "no");
  exchange_->begin_stream(std::move(head));
}

std::string Answer::chunk(const Choice& choice, std::string_view delta, std::string_view logprobs,
                          std::string_view finish_reason) const {
  std::string text;
  text.reserve(chunk_head_.size() + delta.size() + logprobs.size() + 128);
  text += "data: ";
  text += chunk_head_;
  fmt::format_to(std::back_inserter(text),
                 R"("choices":[{{"index":{},{},"logprobs":{},"finish_reason":{}}}])",
                 choice.text.index, delta, logprobs, finish_reason);
  if (request_.include_usage) text += R"(,"usage":null)";
  text += "}\n\n";
  return text;
}

void Answer::send_delta(Choice& choice, std::string_view text) {
  begin_stream();
  if (is_chat()) return send_part(choice, fmt::format(R"("content":{})", base::json_quote(text)));
  std::string all(text);
  ChoiceText part;
  const size_t offset = choice.shown;
  if (!std::exchange(choice.begun, true)) {
    all.insert(0, choice.text.text);  // the echo
    part.prompt = choice.text.prompt;
    part.prompt_logprobs = std::exchange(choice.text.prompt_logprobs, {});
  }
  part.logprobs = std::exchange(choice.unsent, {});
  choice.shown += all.size();
  const bool any = request_.logprobs && (part.prompt != nullptr || !part.logprobs.empty());
  out_ += chunk(choice, fmt::format(R"("text":{})", base::json_quote(all)),
                any ? completion_logprobs_json(*model_->model, part, offset) : "null", "null");
}

// A delta of a chat: its members without the braces.
void Answer::send_part(Choice& choice, std::string_view delta) {
  begin_stream();
  if (!std::exchange(choice.begun, true)) {
    out_ += chunk(choice, R"("delta":{"role":"assistant","content":""})", "null", "null");
  }
  const std::string logprobs =
      choice.unsent.empty() ? "null"
                            : chat_logprobs_json(*model_->model, std::exchange(choice.unsent, {}));
  out_ += chunk(choice, fmt::format(R"("delta":{{{}}})", delta), logprobs, "null");
}

void Answer::send_end(Choice& choice) {
  if (!choice.begun) send_delta(choice, "");
  const std::string reason = fmt::format("\"{}\"", choice.text.finish_reason);
  const std::string logprobs =
      is_chat() && !choice.unsent.empty()
          ? chat_logprobs_json(*model_->model, std::exchange(choice.unsent, {}))
          : "null";
  out_ += chunk(choice, is_chat() ? R"("delta":{})" : R"("text":"")", logprobs, reason);
}

void Answer::end_stream() {
  if (request_.include_usage) {
    out_ += fmt::format("data: {}\"choices\":[],\"usage\":{},\"timings\":{}}}\n\n", chunk_head_,
                        usage_json(usage_), timings_json(usage_));
  }
  out_ += "data: [DONE]\n\n";
  exchange_->send(out_);
  exchange_->end_stream();
}

// A comment now and then, so that no proxy takes a long prompt for a dead connection.
void Answer::keep_alive() {
  timer_.expires_after(kKeepAlive);
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    const auto self = weak.lock();
    if (error || !self || self->done_) return;
    self->begin_stream();
    if (!self->exchange_->send(": still at work\n\n")) return self->cancel();
    self->keep_alive();
  });
}

}  // namespace

void answer_request(Api& api, const http::ExchangePointer& exchange,
                    const ServedModelPointer& model, ApiRequest request,
                    std::vector<std::vector<int32_t>> prompts) {
  std::make_shared<Answer>(api, exchange, model, std::move(request), std::move(prompts))->start();
}

}  // namespace upg::server
