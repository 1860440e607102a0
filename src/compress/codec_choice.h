// The matrices whose codec is open, what each way to store them costs, and choosing among these.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "compress/bit_plan.h"
#include "compress/plan.h"
#include "upg/compress.h"

namespace upg::compression {

class CodecChoice {
 public:
  enum class Scope {
    kLayers,  // path codecs for the layers' matrices
    kFile,    // and int8, for embedding and head too
  };

  // Open are the matrices of that scope that no override names. Both must outlive this.
  CodecChoice(Plan& plan, const CompressOptions& options, Scope scope);

  bool nothing_open() const noexcept { return open_.empty(); }

  // What each choice costs the predictions (compress/sensitivity.h), or without a text the squared
  // error it makes. Reads weights; streams that do not fit memory go to `folder`.
  void measure(const std::filesystem::path& folder, const ProgressCallback& progress);
  // The same from the shapes alone, for sizes: as if all weights were alike.
  void guess();

  // Chooses, and brings the plan up to date. False when even the smallest is too large.
  // Layers so many bits on average, overheads counted as at 5,120 columns; embedding and head,
  // where they are open, path4.
  bool spend_on_layers(double bits);
  bool spend_on_file(uint64_t bytes);  // the whole file at most
  double least_file_bytes() const;     // of the scope kFile
  // All open matrices in the same codec.
  void use(std::string_view codec);

 private:
  std::span<const std::string_view> candidates() const;
  Storage storage_as(size_t index, std::string_view codec) const;
  size_t candidate(std::string_view codec) const;
  double size_of(size_t index, const Storage& storage) const;
  BitItem at_5120(size_t k) const;
  double share_of(size_t index) const;
  double fixed_bytes() const;
  std::vector<double> measured(const std::filesystem::path& folder,
                               const ProgressCallback& progress);
  std::function<void(std::string_view, double)> reporter(const ProgressCallback& progress) const;
  void apply(std::span<const size_t> chosen);

  Plan& plan_;
  const CompressOptions& options_;
  Scope scope_;
  std::vector<size_t> open_;
  std::vector<BitItem> items_;  // one each, sizes in bytes
  bool is_measured_ = false;    // losses are nats a token
};

// Tokens times layers that measuring runs, all its streams together.
double token_layers_to_measure(const Plan& plan, const CompressOptions& options);

// Of these streams.
uint64_t choice_stream_bytes(const Plan& plan, const CompressOptions& options);

// Whether an override or the matrix itself leaves its codec open.
bool is_open(const Plan& plan, size_t index, const CompressOptions& options);

}  // namespace upg::compression
