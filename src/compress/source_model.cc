#include "compress/source_model.h"

#include <fmt/format.h>

#include <cstring>
#include <set>
#include <string_view>

#include "base/json.h"
#include "base/text.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using base::DType;
using model::Role;
using model::TensorSpec;

constexpr std::string_view kTiedHead = "lm_head.weight";

std::string place(const format::Checkpoint& checkpoint, const format::TensorEntry& entry) {
  return fmt::format("{}: tensor \"{}\"",
                     base::printable((checkpoint.folder() / checkpoint.file_of(entry)).native()),
                     base::printable(entry.name));
}

std::vector<int64_t> shape_of(const TensorSpec& spec) {
  if (spec.role == Role::kVector) return {spec.rows};
  return {spec.rows, spec.cols};
}

void check_entry(const format::Checkpoint& checkpoint, const format::TensorEntry& entry,
                 const TensorSpec& spec) {
  const std::vector<int64_t> shape = shape_of(spec);
  if (entry.view.shape != shape) {
    throw Error(ErrorCode::kInvalidData,
                fmt::format("{}: shape {} found, allowed is {} (SHAPE)", place(checkpoint, entry),
                            base::shape_text(entry.view.shape), base::shape_text(shape)));
  }
  const DType dtype = entry.view.dtype;
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
    throw Error(ErrorCode::kInvalidData,
                fmt::format("{}: type {} found, allowed are F32, F16, BF16 (DTYPE)",
                            place(checkpoint, entry), base::name_of(dtype)));
  }
}

std::vector<const format::TensorEntry*> find_entries(const format::Checkpoint& checkpoint,
                                                     const std::vector<TensorSpec>& specs) {
  std::vector<const format::TensorEntry*> entries;
  for (const TensorSpec& spec : specs) {
    const format::TensorEntry* entry = checkpoint.find(spec.name);
    if (entry == nullptr) {
      throw Error(ErrorCode::kInvalidData,
                  fmt::format("{}: tensor \"{}\" of shape {} is missing (MISSING)",
                              base::printable(checkpoint.folder().native()), spec.name,
                              base::shape_text(shape_of(spec))));
    }
    check_entry(checkpoint, *entry, spec);
    entries.push_back(entry);
  }
  return entries;
}

// A tied model's checkpoint may hold the head a second time: allowed when it is the embedding.
bool repeats_embedding(const SourceModel& source, const format::TensorEntry& entry) {
  if (!source.config.tied_head || entry.name != kTiedHead) return false;
  const base::TensorView& embedding = source.entries.front()->view;
  if (entry.view.dtype != embedding.dtype || entry.view.shape != embedding.shape) return false;
  const bool same =
      std::memcmp(entry.view.bytes.data(), embedding.bytes.data(), embedding.bytes.size()) == 0;
  source.checkpoint.release(entry);
  source.checkpoint.release(*source.entries.front());
  return same;
}

void check_no_others(const SourceModel& source) {
  std::set<std::string_view> known;
  for (const TensorSpec& spec : source.specs) known.insert(spec.name);
  for (const format::TensorEntry* entry : source.checkpoint.tensors()) {
    // Buffers that old checkpoints carry; they follow from the config.
    if (known.contains(entry->name) || entry->name.ends_with("rotary_emb.inv_freq")) continue;
    if (repeats_embedding(source, *entry)) continue;
    throw Error(ErrorCode::kInvalidData,
                fmt::format("{}: {} knows no such tensor (FIELD)", place(source.checkpoint, *entry),
                            source.config.architecture));
  }
}

// Of a list of named templates, the one called "default".
std::string_view default_template(const base::Json& list) {
  for (const base::Json& item : list.as_array("chat_template")) {
    const base::Json* name = item.find("name");
    const base::Json* text = item.find("template");
    if (name == nullptr || text == nullptr || !name->is_string() || !text->is_string()) continue;
    if (name->as_string("") == "default") return text->as_string("");
  }
  return {};
}

std::string find_chat_template(const format::Checkpoint& checkpoint) {
  if (const std::string& text = checkpoint.text("chat_template.jinja"); !text.empty()) return text;
  const std::string& config = checkpoint.text("tokenizer_config.json");
  if (config.empty()) return {};
  const std::string file = (checkpoint.folder() / "tokenizer_config.json").native();
  const base::JsonDocument document(config, file);
  const base::Json* found = document.root().find("chat_template");
  if (found == nullptr) return {};
  if (found->is_string()) return std::string(found->as_string(""));
  return found->is_array() ? std::string(default_template(*found)) : std::string();
}

}  // namespace

std::string SourceModel::where(size_t index) const { return place(checkpoint, *entries[index]); }

SourceModel open_source(const std::filesystem::path& folder) {
  SourceModel source(folder);
  const format::Checkpoint& checkpoint = source.checkpoint;
  source.config =
      model::parse_config(checkpoint.text("config.json"), checkpoint.text("generation_config.json"),
                          (folder / "config.json").native());
  source.specs = model::tensor_specs(source.config);
  source.entries = find_entries(checkpoint, source.specs);
  check_no_others(source);
  source.chat_template = find_chat_template(checkpoint);
  return source;
}

}  // namespace upg::compression
