// Any body to the readers of requests: a request within its bounds, or an error that says why.
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "server/api/api_error.h"
#include "server/api/api_request.h"
#include "upg/error.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void read(upg::server::Route route, const upg::base::Json& body) {
  using upg::server::ApiError;
  try {
    upg::server::requested_model(body);
    const upg::server::ApiRequest request = upg::server::read_request(route, body, {});
    const upg::SamplingOptions& sampling = request.generation.options.sampling;
    check(sampling.temperature >= 0 && sampling.temperature <= 2);
    check(sampling.top_p >= 0 && sampling.top_p <= 1);
    check(sampling.top_k >= 0);
    check(request.choices >= 1 && request.choices <= 64);
    check(request.generation.top_logprobs >= -1 && request.generation.top_logprobs <= 20);
    for (const auto& [id, bias] : sampling.logit_bias) check(id >= 0 && std::isfinite(bias));
  } catch (const ApiError& error) {
    check(error.status >= 400 && error.status < 500);
    check(!upg::server::error_json(error).empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const upg::base::JsonDocument document(text, "the body");
    if (!document.root().is_object()) return 0;
    read(upg::server::Route::kChat, document.root());
    read(upg::server::Route::kCompletion, document.root());
    read(upg::server::Route::kEmbedding, document.root());
  } catch (const upg::Error&) {
  }
  return 0;
}
