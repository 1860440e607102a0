#include "server/api/grammar_filter.h"

#include <algorithm>
#include <utility>

#include "constrain/matcher.h"
#include "server/api/api_error.h"
#include "server/api/tools.h"

namespace upg::server {
namespace {

constexpr std::string_view kSchema = "response_format.json_schema.schema";

// A generation held to a grammar.
class GrammarFilter : public TokenFilter {
 public:
  GrammarFilter(std::shared_ptr<const constrain::Grammar> grammar, const ServedModel& model)
      : matcher_(std::move(grammar), model.token_table()),
        stop_ids_(model.model->info().stop_ids) {}

  bool allows(int32_t id) const override {
    return is_stop(id) ? matcher_.complete() : matcher_.allows(id);
  }
  void mask(std::span<float> logits) const override { matcher_.mask(logits, stop_ids_); }
  void accept(int32_t id) override {
    if (!is_stop(id)) matcher_.advance(id);
  }
  bool ended() const override { return matcher_.must_end(); }

 private:
  bool is_stop(int32_t id) const {
    return std::find(stop_ids_.begin(), stop_ids_.end(), id) != stop_ids_.end();
  }

  constrain::Matcher matcher_;
  std::vector<int32_t> stop_ids_;
};

std::shared_ptr<const constrain::Grammar> make_grammar(const ApiRequest& request) {
  try {
    return request.format == ResponseFormat::kJsonObject
               ? constrain::Grammar::json_object()
               : constrain::Grammar::json_schema(*request.schema, kSchema);
  } catch (const Error& error) {
    throw ApiError(400, error.what(), "response_format");
  }
}

}  // namespace

std::function<std::shared_ptr<TokenFilter>()> grammar_filter(const ApiRequest& request,
                                                             const ServedModel& model) {
  std::shared_ptr<const constrain::Grammar> grammar;
  if (request.tool_use && request.tool_use->forced) {
    grammar = request.tool_use->grammar;
  } else if (request.format != ResponseFormat::kText) {
    grammar = make_grammar(request);
  }
  if (!grammar) return {};
  return [grammar, &model] { return std::make_shared<GrammarFilter>(grammar, model); };
}

}  // namespace upg::server
