#include "compress/plan_file.h"

#include <fmt/format.h>

#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using model::Role;
using model::TensorSpec;
using nlohmann::ordered_json;

constexpr size_t kMaxPlanBytes = size_t{16} << 20;
constexpr int kPlanVersion = 1;

std::string codec_of(const Storage& storage) {
  if (storage.codec->name == "raw") return codec_name_of(storage.options.raw_dtype);
  return std::string(storage.codec->name);
}

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::kInvalidData, what); }

const base::Json& member(const base::Json& object, std::string_view key, const std::string& where) {
  const base::Json* found = object.find(key);
  if (found == nullptr) refuse(fmt::format("{}: \"{}\" is missing (MISSING)", where, key));
  return *found;
}

// The index of the matrix an entry speaks of.
size_t find_matrix(const base::Json& entry, const SourceModel& model, const std::string& where) {
  const std::string_view name = member(entry, "name", where).as_string(where + ".name");
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const int64_t rows = member(entry, "rows", where).as_integer(where + ".rows", 1, kMost);
  const int64_t cols = member(entry, "cols", where).as_integer(where + ".cols", 1, kMost);
  for (size_t i = 0; i < model.specs.size(); ++i) {
    const TensorSpec& spec = model.specs[i];
    if (spec.role == Role::kVector || spec.name != name) continue;
    if (spec.rows == rows && spec.cols == cols) return i;
    refuse(fmt::format("{}: {} is [{}, {}] in the plan, the checkpoint's is [{}, {}] (MISMATCH)",
                       where, base::printable(name), rows, cols, spec.rows, spec.cols));
  }
  refuse(fmt::format("{}: {} is no matrix of this checkpoint (MISMATCH)", where,
                     base::printable(name)));
}

}  // namespace

void write_plan(const std::filesystem::path& file, const Plan& plan, std::string_view target) {
  ordered_json json;
  json["upg_plan"] = kPlanVersion;
  json["target"] = target;
  json["expected_kl"] = plan.summary.expected_kl;
  json["tensors"] = ordered_json::array();
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    if (!plan.storage[i].is_matrix()) continue;
    const TensorSpec& spec = plan.source.specs[i];
    json["tensors"].push_back({{"name", spec.name},
                               {"rows", spec.rows},
                               {"cols", spec.cols},
                               {"codec", codec_of(plan.storage[i])},
                               {"kl", plan.summary.tensors[i].kl}});
  }
  const std::string text = json.dump(1) + "\n";
  base::AtomicFile out(file);
  out.write_at(0, std::as_bytes(std::span(text)));
  out.commit();
}

std::vector<PlannedCodec> read_plan(const std::filesystem::path& file, const SourceModel& model) {
  const std::string name = base::printable(file.native());
  const base::JsonDocument document(base::read_file(file, kMaxPlanBytes), name);
  const base::Json& root = document.root();
  member(root, "upg_plan", name).as_integer(name + ": upg_plan", kPlanVersion, kPlanVersion);
  std::vector<PlannedCodec> codecs(model.specs.size());
  const auto entries = member(root, "tensors", name).as_array(name + ": tensors");
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string where = fmt::format("{}: tensors[{}]", name, i);
    PlannedCodec& planned = codecs[find_matrix(entries[i], model, where)];
    if (!planned.codec.empty()) refuse(where + ": names a matrix twice (DUPLICATE)");
    planned.codec = member(entries[i], "codec", where).as_string(where + ".codec");
    planned.kl = member(entries[i], "kl", where).as_number(where + ".kl");
  }
  for (size_t i = 0; i < codecs.size(); ++i) {
    if (model.specs[i].role == Role::kVector || !codecs[i].codec.empty()) continue;
    refuse(fmt::format("{}: has no entry for {} (MISSING)", name, model.specs[i].name));
  }
  return codecs;
}

}  // namespace upg::compression
