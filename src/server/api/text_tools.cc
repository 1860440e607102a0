// Routes around the text of a prompt: tokens of a text, text of tokens, a conversation as a prompt.
#include <fmt/format.h>

#include "base/json.h"
#include "server/api/api.h"
#include "server/api/messages.h"
#include "server/api/prompts.h"

namespace upg::server {
namespace {

const base::Json& needed(const Body& body, std::string_view name) {
  const base::Json* value = body.root().find(name);
  if (value == nullptr) throw ApiError(400, fmt::format("{}: found none", name), name);
  return *value;
}

bool flag(const Body& body, std::string_view name, bool otherwise) {
  const base::Json* value = body.root().find(name);
  return value == nullptr || value->is_null() ? otherwise : value->as_bool(name);
}

Finish answer(const http::ExchangePointer& exchange, std::string json) {
  return [exchange, json = std::move(json)] { respond_json(exchange, json); };
}

}  // namespace

// {"content" or "prompt": text, "add_special": false} -> {"tokens": [...], "count"}
void tokenize(Api& api, const http::ExchangePointer& exchange) {
  with_model(api, exchange, [exchange](const ServedModelPointer& model, const auto& body) {
    const char* name = body->root().find("content") != nullptr ? "content" : "prompt";
    const std::string_view text = needed(*body, name).as_string(name);
    std::string json = R"({"tokens":[)";
    size_t count = 0;
    for (const int32_t id : model->model->encode(text, flag(*body, "add_special", false))) {
      json += fmt::format("{}{}", count++ > 0 ? "," : "", id);
    }
    return answer(exchange, json + fmt::format(R"(],"count":{}}})", count));
  });
}

// {"tokens": [...]} -> {"content": text}
void detokenize(Api& api, const http::ExchangePointer& exchange) {
  with_model(api, exchange, [exchange](const ServedModelPointer& model, const auto& body) {
    std::vector<int32_t> ids;
    for (const base::Json& id : needed(*body, "tokens").as_array("tokens")) {
      ids.push_back(
          static_cast<int32_t>(id.as_integer("tokens", 0, model->model->info().vocabulary - 1)));
    }
    return answer(exchange, fmt::format(R"({{"content":{}}})",
                                        base::json_quote(model->model->decode(ids, false))));
  });
}

// A chat request -> {"prompt": text}
void apply_template(Api& api, const http::ExchangePointer& exchange) {
  with_model(api, exchange, [exchange](const ServedModelPointer& model, const auto& body) {
    const ApiRequest request =
        read_request(Route::kChat, body->root(), model->model->default_sampling());
    const auto tools = tool_use(request, *model->model);
    const std::string prompt = chat_prompt(*model->model, request, tools.get());
    return answer(exchange, fmt::format(R"({{"prompt":{}}})", base::json_quote(prompt)));
  });
}

}  // namespace upg::server
