// Routes that say how things stand: models, properties, slots, health, metrics.
#include <fmt/format.h>

#include "base/json.h"
#include "base/machine.h"
#include "server/api/api.h"
#include "server/http/query.h"
#include "upg/version.h"

namespace upg::server {
namespace {

using base::json_quote;

std::string model_json(const ModelHost::Listed& listed) {
  const int64_t created = listed.model ? listed.model->created : 0;
  std::string json =
      fmt::format(R"({{"id":{},"object":"model","created":{},"owned_by":"upg","loaded":{})",
                  json_quote(listed.id), created, listed.loaded);
  if (listed.model) {
    const ModelInfo& info = listed.model->model->info();
    json += fmt::format(
        R"(,"max_model_len":{},"meta":{{"n_vocab":{},"n_ctx":{},"n_ctx_train":{},"n_embd":{},)"
        R"("n_params":{},"size":{}}})",
        info.context, info.vocabulary, info.context, info.model_context, info.hidden,
        info.parameters, info.file_bytes);
  }
  return json + "}";
}

std::string sampling_json(const SamplingOptions& sampling) {
  return fmt::format(R"({{"temperature":{},"top_k":{},"top_p":{},"min_p":{},"repeat_penalty":{},)"
                     R"("repeat_last_n":{},"presence_penalty":{},"frequency_penalty":{}}})",
                     sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p,
                     sampling.repeat_penalty, sampling.repeat_last_n, sampling.presence_penalty,
                     sampling.frequency_penalty);
}

std::string memory_json(const ServedModel& model) {
  const ModelInfo& info = model.model->info();
  const CacheUse cache = model.scheduler.state().cache;
  const double used =
      cache.pages > 0 ? double(cache.pages - cache.free_pages) / double(cache.pages) : 0;
  return fmt::format(
      R"({{"weight_bytes":{},"cache_bytes":{},"cache_used_bytes":{},"resident_bytes":{}}})",
      info.file_bytes, info.cache_bytes,
      static_cast<uint64_t>(used * static_cast<double>(info.cache_bytes)), base::resident_bytes());
}

std::string props_json(const ServedModel& model) {
  const ModelInfo& info = model.model->info();
  const double bits = info.parameters > 0
                          ? 8.0 * static_cast<double>(info.file_bytes) / double(info.parameters)
                          : 0;
  return fmt::format(
      R"({{"id":{},"version":"{}","model":{{"architecture":{},"profile":{},"parameters":{},)"
      R"("file_bytes":{},"ratio_f32":{:.3f},"bits_per_weight":{:.4f},"layers":{},"hidden":{},)"
      R"("vocabulary":{},"context":{},"model_context":{},"backend":{},"chat_template":{}}},)"
      R"("memory":{},"default_sampling":{}{}}})",
      json_quote(model.id), kVersion, json_quote(info.architecture), json_quote(info.profile),
      info.parameters, info.file_bytes, bits > 0 ? 32 / bits : 0, bits, info.layers, info.hidden,
      info.vocabulary, info.context, info.model_context, json_quote(info.backend),
      json_quote(info.chat_template), memory_json(model),
      sampling_json(model.model->default_sampling()), model.details);
}

ApiError no_such_model() {
  return {404, "there is no model of that name", "model", "model_not_found"};
}

// Of that name, else nothing.
std::optional<ModelHost::Listed> listed_model(const Api& api, std::string_view id) {
  for (ModelHost::Listed& listed : api.models.list()) {
    if (listed.id == id) return std::move(listed);
  }
  return {};
}

}  // namespace

void list_models(Api& api, const http::ExchangePointer& exchange) {
  std::string data;
  for (const ModelHost::Listed& listed : api.models.list()) {
    if (!data.empty()) data += ',';
    data += model_json(listed);
  }
  respond_json(exchange, fmt::format(R"({{"object":"list","data":[{}]}})", data));
}

void one_model(Api& api, const http::ExchangePointer& exchange) {
  const std::string& path = exchange->request().path;
  const std::string_view id = std::string_view(path).substr(path.rfind('/') + 1);
  const auto listed = listed_model(api, http::percent_decode(id));
  if (!listed) return respond_error(exchange, no_such_model());
  respond_json(exchange, model_json(*listed));
}

// Of the model that ?model= names, else of any that is loaded.
void props(Api& api, const http::ExchangePointer& exchange) {
  const std::string name = http::query_value(exchange->request().query, "model");
  const auto listed = listed_model(api, name);
  if (!name.empty() && !listed) return respond_error(exchange, no_such_model());
  const ServedModelPointer model = listed ? listed->model : api.models.any();
  if (model) return respond_json(exchange, props_json(*model));
  const ApiError unloaded(503, "not loaded; a request that names the model loads it", "model",
                          "model_not_loaded");
  respond_error(exchange, listed && api.models.on_demand()
                              ? unloaded
                              : api.models.not_ready().value_or(unloaded));
}

void slots(Api& api, const http::ExchangePointer& exchange) {
  std::string json = "[";
  int id = 0;
  for (const ModelHost::Listed& listed : api.models.list()) {
    if (!listed.model) continue;
    for (const JobState& job : listed.model->scheduler.state().jobs) {
      json += fmt::format(
          R"({}{{"id":{},"model":{},"state":"{}","prompt_tokens":{},"cached_tokens":{},)"
          R"("computed_tokens":{},"generated_tokens":{},"tokens_per_second":{:.2f}}})",
          id > 0 ? "," : "", id, json_quote(listed.id), job.state, job.prompt_tokens,
          job.cached_tokens, job.computed_tokens, job.generated_tokens, job.tokens_per_second);
      ++id;
    }
  }
  respond_json(exchange, json + "]");
}

// 200 when a request would be taken. A step that has been going on for a minute is a hung device.
void health(Api& api, const http::ExchangePointer& exchange) {
  constexpr double kStalled = 60;
  if (const auto error = api.models.not_ready()) return respond_error(exchange, *error);
  for (const ModelHost::Listed& listed : api.models.list()) {
    if (!listed.model) continue;
    const double seconds = listed.model->scheduler.state().step_seconds;
    if (seconds < kStalled) continue;
    return respond_error(
        exchange, ApiError(503, fmt::format("{}: a step has been under way for {:.0f} seconds",
                                            listed.id, seconds)));
  }
  respond_json(exchange, R"({"status":"ok"})");
}

void metrics_text(Api& api, const http::ExchangePointer& exchange) {
  http::Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = api.metrics.text();
  exchange->respond(std::move(response));
}

}  // namespace upg::server
