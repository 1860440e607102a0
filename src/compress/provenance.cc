#include "compress/provenance.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "compress/calibration.h"
#include "upg/version.h"

namespace upg::compression {
namespace {

using model::Role;
using nlohmann::ordered_json;

constexpr double kWidest = -1.23456e-123;  // no other number takes more digits as rounded below
constexpr size_t kMaxPlanBytes = size_t{16} << 20;
constexpr int kMostDigits = 999'999'999;

// Six digits: a file holds hundreds of these, and no one reads more.
double rounded(double value) { return std::strtod(fmt::format("{:.5e}", value).c_str(), nullptr); }

// What the user chose, of all that goes into the file.
ordered_json options_json(const Plan& plan, const CompressOptions& options) {
  ordered_json json;
  json["profile"] = options.profile;
  if (plan.profile.has_sparsity) json["sparsity"] = options.sparsity;
  if (!options.tensor_codecs.empty()) {
    ordered_json overrides = ordered_json::array();
    for (const auto& [pattern, name] : options.tensor_codecs) overrides.push_back({pattern, name});
    json["tensor_codecs"] = overrides;
  }
  if (options.ratio > 0) json["ratio"] = options.ratio;
  if (options.bits > 0) json["bits"] = options.bits;
  return json;
}

// Element types of the vectors, for decompress: the most frequent one, and those that differ.
void add_vector_dtypes(ordered_json& json, const SourceModel& source) {
  std::map<std::string_view, int> counts;
  for (size_t i = 0; i < source.specs.size(); ++i) {
    if (source.specs[i].role == Role::kVector) {
      counts[base::name_of(source.entries[i]->view.dtype)] += 1;
    }
  }
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == counts.end()) return;
  json["vector_dtype"] = most->first;
  ordered_json others = ordered_json::object();
  for (size_t i = 0; i < source.specs.size(); ++i) {
    const std::string_view dtype = base::name_of(source.entries[i]->view.dtype);
    if (source.specs[i].role == Role::kVector && dtype != most->first) {
      others[source.specs[i].name] = dtype;
    }
  }
  if (!others.empty()) json["vector_dtypes"] = others;
}

ordered_json calibration_json(const CalibrationFacts& facts) {
  return {{"text", facts.text},
          {"text_xxh3", facts.text_hash},
          {"windows", facts.windows},
          {"window_tokens", facts.tokens}};
}

ordered_json matrices_json(const std::vector<Provenance::Measure>& matrices) {
  ordered_json json = ordered_json::object();
  for (const Provenance::Measure& matrix : matrices) {
    ordered_json& measured = json[matrix.name];
    measured["relative_error"] = rounded(matrix.relative_error);
    if (matrix.loss) measured["loss"] = rounded(*matrix.loss);
    if (matrix.kl) measured["kl"] = rounded(*matrix.kl);
  }
  return json;
}

std::string dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace

Provenance widest_provenance(const Plan& plan, const CompressOptions& options) {
  const std::string hash(16, 'f');
  Provenance provenance;
  // Not rounded: up to 17 digits, a sign, a point and an exponent.
  provenance.relative_error = -1.2345678901234567e-123;
  provenance.source = hash;
  if (calibrates(plan, options)) {
    provenance.calibration = CalibrationFacts{.text = calibration_name(options),
                                              .text_hash = hash,
                                              .windows = kMostDigits,
                                              .tokens = kMostDigits,
                                              .kernels = {},
                                              .blas = {},
                                              .coding = {}};
  }
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    if (!plan.storage[i].is_matrix()) continue;
    provenance.matrices.push_back({plan.source.specs[i].name, kWidest, kWidest, kWidest});
  }
  return provenance;
}

std::string calibration_name(const CompressOptions& options) {
  return std::filesystem::path(options.calibrate).filename().native();
}

std::string compression_text(const Plan& plan, const CompressOptions& options,
                             const Provenance& provenance) {
  ordered_json json = options_json(plan, options);
  json["relative_error"] = provenance.relative_error;
  add_vector_dtypes(json, plan.source);
  json["upg"] = kVersion;
  json["source_xxh3"] = provenance.source;
  if (provenance.calibration) json["calibration"] = calibration_json(*provenance.calibration);
  json["matrices"] = matrices_json(provenance.matrices);
  return dump(json);
}

std::map<std::string, Provenance::Measure, std::less<>> read_measures(std::string_view compression,
                                                                      std::string_view file) {
  std::map<std::string, Provenance::Measure, std::less<>> measures;
  if (compression.empty()) return measures;
  const base::JsonDocument document(compression, fmt::format("{}: compression", file));
  const base::Json* matrices = document.root().find("matrices");
  if (matrices == nullptr || !matrices->is_object()) return measures;
  const auto number = [](const base::Json& object, std::string_view key) -> std::optional<double> {
    const base::Json* found = object.find(key);
    if (found == nullptr || !found->is_number()) return std::nullopt;
    return found->as_number(key);
  };
  for (const base::Json::Member& member : matrices->as_object("matrices")) {
    measures.emplace(
        member.key,
        Provenance::Measure{.name = std::string(member.key),
                            .relative_error = number(member.value, "relative_error").value_or(0),
                            .loss = number(member.value, "loss"),
                            .kl = number(member.value, "kl")});
  }
  return measures;
}

JobFields job_fields(const Plan& plan, const CompressOptions& options,
                     const CalibrationFacts& calibration, SourceHash& source,
                     const std::function<void()>& tick) {
  JobFields fields = {{"upg", kVersion},
                      {"coding", calibration.coding},
                      {"kernels", calibration.kernels},
                      {"BLAS", calibration.blas}};
  const ordered_json chosen = options_json(plan, options);
  for (const auto& [name, value] : chosen.items()) {
    fields.emplace_back("option " + name, value.dump());
  }
  fields.emplace_back("--calibrate", calibration.text + ", checksum " + calibration.text_hash);
  fields.emplace_back("--calibration-windows",
                      fmt::format("{} of {} tokens", calibration.windows, calibration.tokens));
  if (!options.plan_file.empty()) {
    const std::string text = base::read_file(options.plan_file, kMaxPlanBytes);
    fields.emplace_back("--plan",
                        "checksum " + base::hex64(base::xxh3(std::as_bytes(std::span(text)))));
  }
  for (const std::string_view name :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "chat_template.jinja"}) {
    const std::string& text = plan.source.checkpoint.text(name);
    fields.emplace_back(name,
                        "checksum " + base::hex64(base::xxh3(std::as_bytes(std::span(text)))));
  }
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const model::TensorSpec& spec = plan.source.specs[i];
    const Storage& storage = plan.storage[i];
    fields.emplace_back(
        fmt::format("tensor {}", spec.name),
        fmt::format("{}{} {} from {} {}, checksum {}",
                    storage.is_matrix() ? storage.codec->name : std::string_view("f32"),
                    storage.is_matrix() ? fmt::format(" {}", storage.codec->version) : "",
                    storage.rotated ? "rotated" : "as it is",
                    base::name_of(plan.source.entries[i]->view.dtype),
                    base::shape_text(plan.source.entries[i]->view.shape),
                    base::hex64(source.tensor(i, tick))));
  }
  return fields;
}

}  // namespace upg::compression
