// Routes that write text: chat and completions.
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "base/text.h"
#include "server/api/answer.h"
#include "server/api/grammar_filter.h"
#include "server/api/prompts.h"

namespace upg::server {
namespace {

uint64_t random_seed() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return random();
}

void check_bias(int vocabulary, const ApiRequest& request) {
  for (const auto& [id, bias] : request.generation.options.sampling.logit_bias) {
    if (id < vocabulary) continue;
    throw ApiError(
        400, fmt::format("logit_bias: found token {}, allowed are 0 to {}", id, vocabulary - 1),
        "logit_bias");
  }
}

void prepare(const ServedModel& model, ApiRequest& request) {
  check_bias(model.model->info().vocabulary, request);
  GenerationRequest& generation = request.generation;
  if (!request.seeded) generation.options.sampling.seed = random_seed();
  generation.make_filter = grammar_filter(request, model);
  // Marks of a call are special tokens in some formats.
  generation.options.show_special = request.tool_use != nullptr;
}

Finish answer_with(Api& api, const http::ExchangePointer& exchange, const ServedModelPointer& model,
                   ApiRequest request, std::vector<std::vector<int32_t>> prompts) {
  prepare(*model, request);
  const auto shared = std::make_shared<ApiRequest>(std::move(request));
  const auto tokens = std::make_shared<std::vector<std::vector<int32_t>>>(std::move(prompts));
  return [&api, exchange, model, shared, tokens] {
    try {
      answer_request(api, exchange, model, std::move(*shared), std::move(*tokens));
    } catch (const ApiError& error) {
      respond_error(exchange, error);
    } catch (const Error& error) {
      respond_error(exchange, request_error(error, {}));
    } catch (const std::bad_alloc&) {
      respond_error(exchange, ApiError(503, "out of memory"));
    }
  };
}

}  // namespace

void chat_completions(Api& api, const http::ExchangePointer& exchange) {
  with_model(api, exchange, [&api, exchange](const ServedModelPointer& model, const auto& body) {
    ApiRequest request = read_request(Route::kChat, body->root(), model->model->default_sampling());
    request.tool_use = tool_use(request, *model->model);
    const std::string text = chat_prompt(*model->model, request, request.tool_use.get());
    std::vector<std::vector<int32_t>> prompts = {
        checked_prompt(*model->model, model->model->encode(text, false), "messages")};
    return answer_with(api, exchange, model, std::move(request), std::move(prompts));
  });
}

void completions(Api& api, const http::ExchangePointer& exchange) {
  with_model(api, exchange, [&api, exchange](const ServedModelPointer& model, const auto& body) {
    ApiRequest request =
        read_request(Route::kCompletion, body->root(), model->model->default_sampling());
    std::vector<std::vector<int32_t>> prompts = encode_prompts(*model->model, request, "prompt");
    return answer_with(api, exchange, model, std::move(request), std::move(prompts));
  });
}

}  // namespace upg::server
