#include "runtime/generation_config.h"

#include <fmt/format.h>

#include <limits>
#include <string>

#include "base/json.h"
#include "upg/error.h"

namespace upg::runtime {
namespace {

class Fields {
 public:
  Fields(const base::Json& root, std::string_view file) : root_(root), file_(file) {}

  // nullptr where it is missing or null.
  const base::Json* find(std::string_view name) const {
    const base::Json* field = root_.find(name);
    return field == nullptr || field->is_null() ? nullptr : field;
  }
  void read(std::string_view name, float low, float high, float& value) const {
    const base::Json* field = find(name);
    if (field == nullptr) return;
    const double number = field->as_number(where(name));
    if (!(number >= double{low} && number <= double{high})) {
      throw Error(ErrorCode::kInvalidData,
                  fmt::format("{}: found {}, allowed {} to {}", where(name), number, low, high));
    }
    value = static_cast<float>(number);
  }
  std::string where(std::string_view name) const { return fmt::format("{}: {}", file_, name); }

 private:
  const base::Json& root_;
  std::string_view file_;
};

}  // namespace

SamplingOptions sampling_defaults(std::string_view generation_config_json, std::string_view file) {
  SamplingOptions options;
  if (generation_config_json.empty()) return options;
  const base::JsonDocument document(generation_config_json, file);
  document.root().as_object(file);
  const Fields fields(document.root(), file);
  const float largest = std::numeric_limits<float>::max();
  fields.read("temperature", 0, largest, options.temperature);
  fields.read("top_p", 0, 1, options.top_p);
  fields.read("min_p", 0, 1, options.min_p);
  if (const base::Json* top_k = fields.find("top_k")) {
    const int64_t found = top_k->as_integer(fields.where("top_k"), -1, INT32_MAX);
    options.top_k = found < 0 ? 0 : static_cast<int>(found);
  }
  if (fields.find("repetition_penalty") != nullptr) {
    fields.read("repetition_penalty", std::numeric_limits<float>::min(), largest,
                options.repeat_penalty);
    options.repeat_last_n = -1;
  }
  const base::Json* do_sample = fields.find("do_sample");
  if (do_sample != nullptr && !do_sample->as_bool(fields.where("do_sample"))) {
    options.temperature = 0;
  }
  return options;
}

}  // namespace upg::runtime
