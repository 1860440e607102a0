// The calibrated part of a compression job: which text, which backend, and the matrices coded so
// far.
#pragma once

#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/threads.h"
#include "compress/calibrated_encode.h"
#include "compress/calibration_text.h"
#include "compress/calibrator.h"
#include "compress/plan.h"
#include "compress/provenance.h"
#include "compress/stream_file.h"

namespace upg::compression {

// Whether a matrix of the plan is coded against its inputs: otherwise no text is needed.
bool calibrates(const Plan& plan, const CompressOptions& options);

class Calibration {
 public:
  // folder: where activations go that do not fit memory. Throws Error for a bad text, a checkpoint
  // without a tokenizer.
  Calibration(const Plan& plan, const CompressOptions& options, const std::filesystem::path& folder,
              base::ThreadTeam& team);

  // Whether that matrix is coded against its inputs: paths and sparse, but for the embedding.
  static bool codes(const model::TensorSpec& spec, const Storage& storage);
  // pass is told about what share of the passes over the text is done that come before the coding;
  // it may throw to stop.
  EncodedMatrix encode(const model::TensorSpec& spec, const SourceMatrix& source,
                       const Storage& storage, const uint8_t* signs, const Tick& tick,
                       const std::function<void(double share)>& pass);
  // Every matrix of the file comes through here, coded by whom ever; kept while it is needed.
  void coded(const model::TensorSpec& spec, const SourceMatrix& source, const Storage& storage,
             const uint8_t* signs, EncodedMatrix encoded);

  // Where what was run so far may be kept: told that there is something worth keeping, and where it
  // stands.
  std::function<void(int layer)> keep;
  uint64_t stream_bytes() const;
  void write_streams(const StreamFile& what, const std::function<void()>& tick);
  // Goes on before that layer; false when the file is damaged, of which `damaged` is told why.
  bool read_streams(const StreamFile& what, const std::function<void()>& tick,
                    const std::function<void(std::string_view)>& damaged);

  CalibrationFacts facts() const;
  // Where the time went so far.
  void add_times(CompressTimes& times) const;

 private:
  void reached(int layer);
  StreamFile complete(StreamFile what) const;

  struct Kept {
    std::string layer;
    EncodedMatrix matrix;
  };

  base::ThreadTeam& team_;
  CalibrationText text_;
  std::string text_name_;
  std::string text_hash_;
  int64_t hidden_;
  CodingOptions coding_;
  std::unique_ptr<CalibrationDevice> device_;
  std::optional<Calibrator> calibrator_;
  std::list<Kept> kept_;
  std::set<std::string> two_bases_;   // activations whose matrices are not all rotated alike
  std::function<void(double)> pass_;  // of the matrix at hand
  int passed_ = 0;                    // windows, of all passes for it
  double coding_seconds_ = 0;
  double worth_keeping_;  // seconds of running the text
  double kept_at_ = 0;    // how many there were when streams were kept or read
};

// Tokens of a calibration window of that model.
int window_tokens(const model::ModelConfig& config) noexcept;

// Activations that calibrated matrices read in two bases: not all of these are rotated alike.
std::set<std::string> activations_in_two_bases(const Plan& plan);

}  // namespace upg::compression
