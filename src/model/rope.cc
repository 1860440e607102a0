// Float32 throughout, in the order of transformers' modeling_rope_utils.py: a frequency that is an
// ulp off turns into an angle that is off by position times that.
#include "model/rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numbers>
#include <string>
#include <vector>

#include "base/text.h"
#include "upg/error.h"

namespace upg::model {
namespace {

constexpr double kMaxTheta = 1e15;
constexpr double kMinFactor = 1e-6;
constexpr double kMaxFactor = 1e6;
constexpr int64_t kMaxContext = int64_t{1} << 30;

// theta^(2 i / dims), i = 0 ... dims / 2 - 1
std::vector<float> wave_numbers(double theta, int dims) {
  std::vector<float> out(static_cast<size_t>(dims / 2));
  for (size_t i = 0; i < out.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dims);
    out[i] = std::pow(static_cast<float>(theta), exponent);
  }
  return out;
}

std::vector<float> default_frequencies(double theta, int dims) {
  std::vector<float> out = wave_numbers(theta, dims);
  for (float& value : out) value = 1.0f / value;
  return out;
}

// A field that is not read may change the meaning of those that are.
void refuse_unknown_fields(const Fields& scaling, std::initializer_list<std::string_view> known) {
  for (const base::Json::Member& member : scaling.object().as_object(scaling.file())) {
    if (std::find(known.begin(), known.end(), member.key) == known.end()) {
      scaling.unsupported(base::printable(member.key), member.value.describe(),
                          "no such field for this kind of scaling");
    }
  }
}

std::vector<float> llama3_frequencies(const Fields& scaling, double theta, int dims) {
  refuse_unknown_fields(scaling, {"rope_type", "type", "factor", "low_freq_factor",
                                  "high_freq_factor", "original_max_position_embeddings"});
  const auto factor = static_cast<float>(scaling.number("factor", kMinFactor, kMaxFactor));
  const double low = scaling.number("low_freq_factor", kMinFactor, kMaxFactor);
  const double high = scaling.number("high_freq_factor", low, kMaxFactor);
  const auto context =
      static_cast<double>(scaling.integer("original_max_position_embeddings", 1, kMaxContext));
  const auto longest = static_cast<float>(context / low);    // waves above: divided by factor
  const auto shortest = static_cast<float>(context / high);  // waves below: as they are
  std::vector<float> out = default_frequencies(theta, dims);
  for (float& frequency : out) {
    const float wave = static_cast<float>(2 * std::numbers::pi) / frequency;
    if (wave > longest) {
      frequency /= factor;
    } else if (!(wave < shortest)) {
      const float smooth = (static_cast<float>(context) / wave - static_cast<float>(low)) /
                           static_cast<float>(high - low);
      frequency = (1 - smooth) * frequency / factor + smooth * frequency;
    }
  }
  return out;
}

std::vector<float> longrope_frequencies(const Fields& scaling, std::string_view key, double theta,
                                        int dims) {
  const auto factors = scaling.require(key).as_array(scaling.where(key));
  if (factors.size() != static_cast<size_t>(dims / 2)) {
    scaling.refuse(key, fmt::format("{} factors", factors.size()),
                   fmt::format("{}, half of the {} rotary dimensions", dims / 2, dims));
  }
  std::vector<float> out = wave_numbers(theta, dims);
  for (size_t i = 0; i < out.size(); ++i) {
    const std::string where = fmt::format("{}[{}]", key, i);
    const double factor = factors[i].as_number(scaling.where(where));
    if (!(factor >= kMinFactor && factor <= kMaxFactor)) {
      scaling.refuse(where, factors[i].describe(), "a number from 1e-6 to 1e6");
    }
    out[i] = 1.0f / (static_cast<float>(factor) * out[i]);
  }
  return out;
}

// Of cos and sin, both sets of factors alike.
float longrope_attention_factor(const Fields& scaling, int64_t max_positions, int64_t original) {
  const double stated = scaling.number_or("attention_factor", kMinFactor, kMaxFactor, 0);
  if (stated > 0) return static_cast<float>(stated);
  if (max_positions <= original) return 1.0f;
  const double factor = static_cast<double>(max_positions) / static_cast<double>(original);
  return static_cast<float>(
      std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original))));
}

RopeTables longrope_tables(const Fields& config, const Fields& scaling, double theta, int dims,
                           int64_t max_positions) {
  refuse_unknown_fields(scaling, {"rope_type", "type", "short_factor", "long_factor",
                                  "attention_factor", "original_max_position_embeddings"});
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  const Fields& holder = config.find(kOriginal) == nullptr ? scaling : config;
  RopeTables tables;
  tables.long_from = holder.integer(kOriginal, 2, kMaxContext);
  const float scale = longrope_attention_factor(scaling, max_positions, tables.long_from);
  tables.rope = {longrope_frequencies(scaling, "short_factor", theta, dims), scale};
  tables.long_rope = {longrope_frequencies(scaling, "long_factor", theta, dims), scale};
  return tables;
}

RopeKind rope_kind(const Fields& scaling, const Architecture& architecture) {
  const std::string_view key = scaling.find("rope_type") == nullptr ? "type" : "rope_type";
  const std::string_view name = scaling.text(key);
  if (name == "default") return RopeKind::kDefault;
  std::string known = "default";
  for (const RopeName& row : architecture.ropes) {
    if (row.name == name) return row.kind;
    known += fmt::format(", {}", row.name);
  }
  scaling.unsupported(key, fmt::format("\"{}\"", base::printable(name)),
                      fmt::format("{} for {}", known, architecture.name));
}

// The last line against numbers that are each in range and together are not.
void check_frequencies(const Fields& config, const kernels::Rope& rope) {
  for (const float frequency : rope.inv_freq) {
    if (!(std::isfinite(frequency) && frequency > 0)) {
      config.refuse("rope_scaling", fmt::format("a rotary frequency of {}", frequency),
                    "settings that make finite frequencies above 0");
    }
  }
}

double read_theta(const Fields& config, const Architecture& architecture) {
  if (architecture.early_configs) return config.number_or("rope_theta", 1, kMaxTheta, 10000.0);
  return config.number("rope_theta", 1, kMaxTheta);
}

RopeTables make_tables(const Fields& config, const Architecture& architecture, int rotary_dims,
                       int64_t max_positions) {
  if (config.find("rope_parameters") != nullptr) {
    config.unsupported("rope_parameters", "rotary settings of transformers 5",
                       "rope_theta and rope_scaling");
  }
  const double theta = read_theta(config, architecture);
  RopeTables tables;
  tables.rope.inv_freq = default_frequencies(theta, rotary_dims);
  if (const base::Json* json = config.find("rope_scaling")) {
    json->as_object(config.where("rope_scaling"));
    const Fields scaling(*json, config.file(), "rope_scaling.");
    switch (rope_kind(scaling, architecture)) {
      case RopeKind::kDefault:
        break;
      case RopeKind::kLlama3:
        tables.rope.inv_freq = llama3_frequencies(scaling, theta, rotary_dims);
        break;
      case RopeKind::kLongrope:
        return longrope_tables(config, scaling, theta, rotary_dims, max_positions);
    }
  }
  tables.long_rope = tables.rope;
  return tables;
}

}  // namespace

RopeTables read_rope(const Fields& config, const Architecture& architecture, int rotary_dims,
                     int64_t max_positions) {
  RopeTables tables = make_tables(config, architecture, rotary_dims, max_positions);
  check_frequencies(config, tables.rope);
  check_frequencies(config, tables.long_rope);
  return tables;
}

}  // namespace upg::model
