// Embeddings: the mean over a text's tokens of what the head reads, of length 1.
#include <fmt/format.h>

#include <cmath>

#include "base/json.h"
#include "server/api/answer.h"
#include "server/api/prompts.h"

namespace upg::server {
namespace {

std::string base64(std::string_view bytes) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) {
      text += j <= count ? kLetters[group >> (18 - 6 * j) & 63] : '=';
    }
  }
  return text;
}

// The first `dimensions` of them, of length 1 again; 0: all.
std::vector<float> shortened(std::vector<float> embedding, int dimensions) {
  if (dimensions <= 0 || static_cast<size_t>(dimensions) >= embedding.size()) return embedding;
  embedding.resize(static_cast<size_t>(dimensions));
  double squares = 0;
  for (const float value : embedding) squares += double{value} * value;
  const double length = std::sqrt(squares);
  for (float& value : embedding) value = static_cast<float>(length > 0 ? value / length : 0);
  return embedding;
}

std::string embedding_json(const std::vector<float>& embedding, bool as_base64) {
  if (as_base64) {
    const std::string_view bytes(reinterpret_cast<const char*>(embedding.data()),
                                 embedding.size() * sizeof(float));
    return base::json_quote(base64(bytes));
  }
  std::string json = "[";
  for (const float value : embedding) {
    json += fmt::format("{}{:.9g}", json.size() > 1 ? "," : "", value);
  }
  return json + "]";
}

class EmbeddingAnswer : public std::enable_shared_from_this<EmbeddingAnswer> {
 public:
  EmbeddingAnswer(Api& api, http::ExchangePointer exchange, ServedModelPointer model,
                  ApiRequest request)
      : api_(api),
        exchange_(std::move(exchange)),
        model_(std::move(model)),
        request_(std::move(request)) {}

  // Throws ApiError when the queue is full.
  void start(const std::vector<std::vector<int32_t>>& prompts) {
    const auto self = shared_from_this();
    const auto queue = std::make_shared<EventQueue>(
        api_.loop, false, [self](std::vector<GenerationEvent>& events) { self->receive(events); });
    std::vector<GenerationRequest> requests;
    for (const std::vector<int32_t>& prompt : prompts) {
      requests.push_back(request_.generation);
      requests.back().prompt = prompt;
    }
    results_.resize(prompts.size());
    unfinished_ = prompts.size();
    jobs_ = model_->scheduler.submit(requests, 1, queue);
    if (jobs_.empty()) throw queue_full();
    exchange_->on_disconnect([self] { self->cancel(); });
  }

 private:
  void receive(std::vector<GenerationEvent>& events) {
    for (GenerationEvent& event : events) {
      auto* result = std::get_if<GenerationResult>(&event.what);
      if (result == nullptr) continue;
      --unfinished_;
      if (result->error && !done_) {
        done_ = true;
        respond_error(exchange_, generation_error(*result));
        cancel();
      }
      results_[static_cast<size_t>(event.choice)] = std::move(*result);
    }
    if (unfinished_ > 0) return;
    if (!done_) respond_json(exchange_, body());
    jobs_.clear();
  }

  void cancel() {
    done_ = true;
    for (const JobHandle& job : jobs_) job.cancel();
  }

  std::string body() const {
    std::string data;
    int64_t tokens = 0;
    for (size_t i = 0; i < results_.size(); ++i) {
      const std::vector<float> embedding = shortened(results_[i].embedding, request_.dimensions);
      data += fmt::format(R"({}{{"object":"embedding","index":{},"embedding":{}}})",
                          i > 0 ? "," : "", i, embedding_json(embedding, request_.base64));
      tokens += results_[i].prompt_tokens;
    }
    return fmt::format(R"({{"object":"list","data":[{}],"model":{},)"
                       R"("usage":{{"prompt_tokens":{},"total_tokens":{}}}}})",
                       data, base::json_quote(model_->id), tokens, tokens);
  }

  Api& api_;
  http::ExchangePointer exchange_;
  ServedModelPointer model_;
  ApiRequest request_;
  std::vector<JobHandle> jobs_;
  std::vector<GenerationResult> results_;
  size_t unfinished_ = 0;
  bool done_ = false;
};

}  // namespace

void embeddings(Api& api, const http::ExchangePointer& exchange) {
  with_model(api, exchange, [&api, exchange](const ServedModelPointer& model, const auto& body) {
    ApiRequest request =
        read_request(Route::kEmbedding, body->root(), model->model->default_sampling());
    auto prompts = encode_prompts(*model->model, request, "input");
    const auto answer = std::make_shared<EmbeddingAnswer>(api, exchange, model, std::move(request));
    return Finish([exchange, answer, prompts = std::move(prompts)] {
      try {
        answer->start(prompts);
      } catch (const ApiError& error) {
        respond_error(exchange, error);
      } catch (const Error& error) {
        respond_error(exchange, request_error(error, {}));
      } catch (const std::bad_alloc&) {
        respond_error(exchange, ApiError(503, "out of memory"));
      }
    });
  });
}

}  // namespace upg::server
