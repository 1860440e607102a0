// The table of routes. What needs no key is said here, row by row, and nowhere else.
#include "server/api/api.h"

namespace upg::server {
namespace {

// clang-format off
constexpr RouteRow kRoutes[] = {
    {"POST", "/v1/chat/completions", Access::kKey, "Continue a conversation", chat_completions},
    {"POST", "/chat/completions", Access::kKey, "The same", chat_completions},
    {"POST", "/v1/completions", Access::kKey, "Continue a text", completions},
    {"POST", "/completions", Access::kKey, "The same", completions},
    {"POST", "/v1/embeddings", Access::kKey, "The mean of a text's hidden states, of length 1", embeddings},
    {"POST", "/embeddings", Access::kKey, "The same", embeddings},
    {"GET", "/v1/models", Access::kKey, "The models", list_models},
    {"GET", "/models", Access::kKey, "The same", list_models},
    {"GET", "/v1/models/{id}", Access::kKey, "One model", one_model},
    {"POST", "/tokenize", Access::kKey, "The tokens of a text", tokenize},
    {"POST", "/detokenize", Access::kKey, "The text of tokens", detokenize},
    {"POST", "/apply-template", Access::kKey, "A conversation as the prompt the model gets", apply_template},
    {"GET", "/props", Access::kKey, "A model (any that is loaded, or ?model=), its file, memory, sampling defaults", props},
    {"GET", "/slots", Access::kKey, "The requests at work and waiting", slots},
    {"GET", "/metrics", Access::kKey, "Prometheus metrics", metrics_text},
    {"GET", "/openapi.json", Access::kKey, "This interface", openapi},
    {"GET", "/health", Access::kPublic, "Whether requests are taken", health},
    {"GET", "/v1/health", Access::kPublic, "The same", health},
};
// clang-format on

}  // namespace

std::span<const RouteRow> routes() noexcept { return kRoutes; }

}  // namespace upg::server
