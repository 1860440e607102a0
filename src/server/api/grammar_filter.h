// Structured output: an answer held to a grammar.
#pragma once

#include <functional>
#include <memory>

#include "server/api/api_request.h"
#include "server/model_host.h"

namespace upg::server {

// Makes a filter for each answer to the request; nothing where it may be any text. Throws ApiError
// (400) naming the part of a schema that is not supported.
std::function<std::shared_ptr<TokenFilter>()> grammar_filter(const ApiRequest& request,
                                                             const ServedModel& model);

}  // namespace upg::server
