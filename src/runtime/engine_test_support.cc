#include "runtime/engine_test_support.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/file.h"
#include "base/json.h"

namespace upg::runtime {
namespace {

Ids read_ids(const base::Json& json) {
  Ids ids;
  for (const base::Json& id : json.as_array("ids")) {
    ids.push_back(static_cast<int32_t>(id.as_integer("id", 0, INT32_MAX)));
  }
  return ids;
}

Golden read_golden(const base::Json& json) {
  Golden golden;
  const base::Json& prompt = *json.find("prompt");
  if (prompt.is_string()) {
    golden.prompt = prompt.as_string("prompt");
  } else {
    for (const base::Json& message : prompt.as_array("prompt")) {
      golden.messages.push_back({std::string(message.find("role")->as_string("role")),
                                 std::string(message.find("content")->as_string("content"))});
    }
  }
  golden.ids = read_ids(*json.find("ids"));
  golden.top_ids = read_ids(*json.find("top_ids"));
  for (const base::Json& logit : json.find("top_logits")->as_array("top_logits")) {
    golden.top_logits.push_back(static_cast<float>(logit.as_number("logit")));
  }
  golden.log_sum_exp = json.find("logsumexp")->as_number("logsumexp");
  golden.greedy = read_ids(*json.find("greedy"));
  golden.greedy_text = json.find("greedy_text")->as_string("greedy_text");
  return golden;
}

}  // namespace

std::string model_folder() { return UPG_SOURCE_DIR "/models/books-12m"; }

std::vector<Golden> read_goldens(const std::string& folder) {
  const std::string text = base::read_file(folder + "/golden.json", 1 << 24);
  const base::JsonDocument document(text, "golden.json");
  std::vector<Golden> goldens;
  for (const base::Json& json : document.root().find("cases")->as_array("cases")) {
    goldens.push_back(read_golden(json));
  }
  return goldens;
}

const std::vector<Golden>& goldens() {
  static const std::vector<Golden> goldens = read_goldens(model_folder());
  return goldens;
}

std::unique_ptr<Engine> load(const LoadOptions& options) {
  LoadOptions chosen = options;
  if (chosen.threads == 0) chosen.threads = 1;  // the model is small, the machine may be busy
  return Engine::load(model_folder(), chosen);
}

GenerateOptions greedy(int max_tokens) {
  GenerateOptions options;
  options.sampling.temperature = 0;
  options.max_tokens = max_tokens;
  options.ignore_end_of_text = true;
  return options;
}

Ids random_prompt(std::mt19937& random, int tokens) {
  Ids ids(static_cast<size_t>(tokens));
  for (int32_t& id : ids) id = static_cast<int32_t>(3 + random() % 8000);
  return ids;
}

Ids long_prompt(int tokens) {
  std::mt19937 random(1);
  return random_prompt(random, tokens);
}

double max_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double{a[i]} - b[i]);
    if (!(difference <= largest)) largest = difference;  // NaN counts
  }
  return largest;
}

void expect_golden(const Golden& golden, std::span<const float> logits, double tolerance) {
  ASSERT_EQ(logits.size(), 8192u);
  for (size_t i = 0; i < golden.top_ids.size(); ++i) {
    EXPECT_NEAR(logits[static_cast<size_t>(golden.top_ids[i])], golden.top_logits[i], tolerance);
  }
  double sum = 0;
  for (const float logit : logits)
    sum += std::exp(double{logit} - logits[static_cast<size_t>(golden.top_ids[0])]);
  EXPECT_NEAR(std::log(sum) + logits[static_cast<size_t>(golden.top_ids[0])], golden.log_sum_exp,
              tolerance);
}

}  // namespace upg::runtime
