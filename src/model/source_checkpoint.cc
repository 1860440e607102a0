// A checkpoint folder as a model: every matrix raw, as it lies in the mapped safetensors files.
#include <fmt/format.h>

#include <cstring>
#include <set>

#include "base/check.h"
#include "base/text.h"
#include "codec/codec.h"
#include "format/checkpoint.h"
#include "model/source_parts.h"
#include "upg/error.h"

namespace upg::model {
namespace {

constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kEmbedding = "model.embed_tokens.weight";

class CheckpointSource final : public ModelSource {
 public:
  explicit CheckpointSource(const std::filesystem::path& folder) : checkpoint_(folder) {
    path_ = folder;
    config_ = parse_config(config_text(), generation_config_text(),
                           base::printable((folder / "config.json").native()));
    specs_ = tensor_specs(config_);
    for (const TensorSpec& spec : specs_) check(spec);
    check_tied_head();
    refuse_unknown_tensors();
    for (const TensorSpec& spec : specs_) {
      if (spec.role != Role::kVector) matrices_.emplace(spec.name, bind(spec));
    }
  }

  codec::Matrix matrix(const TensorSpec& spec) const override {
    const auto found = matrices_.find(spec.name);
    UPG_CHECK(found != matrices_.end());
    return found->second;
  }

  void release(const TensorSpec& spec) const noexcept override {
    const format::TensorEntry* entry = checkpoint_.find(spec.name);
    if (entry != nullptr) checkpoint_.release(*entry);
  }

  std::vector<std::span<const std::byte>> mappings() const override {
    return checkpoint_.mappings();
  }

  std::vector<float> vector(const TensorSpec& spec) const override {
    const format::TensorEntry& entry = require(spec.name);
    return read_vector(entry.view, spec, file_of(entry));
  }

  std::string_view codec_name(const TensorSpec&) const override { return "raw"; }
  uint64_t stored_bytes(const TensorSpec& spec) const override {
    return require(spec.name).view.bytes.size();
  }
  uint64_t file_bytes() const override {
    uint64_t bytes = 0;
    for (const TensorSpec& spec : specs_) bytes += stored_bytes(spec);
    return bytes;
  }
  std::string_view profile() const override { return "checkpoint"; }

  std::string_view config_text() const override { return checkpoint_.text("config.json"); }
  std::string_view generation_config_text() const override {
    return checkpoint_.text("generation_config.json");
  }
  std::string_view tokenizer_text() const override { return checkpoint_.text("tokenizer.json"); }
  std::string_view tokenizer_config_text() const override {
    return checkpoint_.text("tokenizer_config.json");
  }
  std::string_view chat_template_text() const override {
    return checkpoint_.text("chat_template.jinja");
  }

 private:
  std::string file_of(const format::TensorEntry& entry) const {
    return base::printable((path_ / checkpoint_.file_of(entry)).native());
  }

  const format::TensorEntry& require(std::string_view name) const {
    const format::TensorEntry* entry = checkpoint_.find(name);
    if (entry == nullptr) fail_missing(name, base::printable(path_.native()));
    return *entry;
  }

  void check(const TensorSpec& spec) const {
    const format::TensorEntry& entry = require(spec.name);
    check_tensor(entry.view, shape_of(spec), spec.name, file_of(entry));
  }

  // Some checkpoints carry the head although it is the embedding; then it must be the same.
  void check_tied_head() const {
    const format::TensorEntry* head = checkpoint_.find(kHead);
    if (!config_.tied_head || head == nullptr) return;
    const format::TensorEntry& embedding = require(kEmbedding);
    const auto a = head->view.bytes;
    const auto b = embedding.view.bytes;
    const bool same = head->view.dtype == embedding.view.dtype &&
                      head->view.shape == embedding.view.shape &&
                      std::memcmp(a.data(), b.data(), a.size()) == 0;
    if (!same) {
      throw Error(ErrorCode::kInvalidData,
                  fmt::format("{}: tensor \"{}\": found other values than \"{}\", allowed is the "
                              "same, as tie_word_embeddings is true (MISMATCH)",
                              file_of(*head), kHead, kEmbedding));
    }
    checkpoint_.release(*head);
  }

  // A tensor that the graph has no place for would change the result if it had one.
  void refuse_unknown_tensors() const {
    std::set<std::string_view> known;
    for (const TensorSpec& spec : specs_) known.insert(spec.name);
    for (const format::TensorEntry* entry : checkpoint_.tensors()) {
      const std::string_view name = entry->name;
      if (known.contains(name) || name.ends_with("rotary_emb.inv_freq")) continue;
      if (name == kHead && config_.tied_head) continue;
      throw Error(ErrorCode::kInvalidData,
                  fmt::format("{}: tensor \"{}\": found {}, but {} with this config has no such "
                              "tensor (MISMATCH)",
                              file_of(*entry), base::printable(name),
                              base::shape_text(entry->view.shape), config_.architecture));
    }
  }

  codec::Matrix bind(const TensorSpec& spec) const {
    const format::TensorEntry& entry = require(spec.name);
    const codec::Codec* raw = codec::find_codec("raw");
    UPG_CHECK(raw != nullptr);
    const std::string name = fmt::format("{}: {}", checkpoint_.file_of(entry), spec.name);
    codec::StoredMatrix stored;
    stored.name = name;
    stored.rows = spec.rows;
    stored.cols = spec.cols;
    stored.part = [&](std::string_view suffix) { return suffix.empty() ? &entry.view : nullptr; };
    return raw->bind(stored);
  }

  format::Checkpoint checkpoint_;
  BoundMatrices matrices_;
};

}  // namespace

std::unique_ptr<ModelSource> open_checkpoint(const std::filesystem::path& folder) {
  return std::make_unique<CheckpointSource>(folder);
}

}  // namespace upg::model
