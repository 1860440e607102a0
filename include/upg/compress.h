// Compressing a checkpoint into a UPG file, and what goes the other way.
//
// Errors are thrown as upg::Error (error.h). Nothing is printed: progress goes to a callback.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "upg/error.h"

namespace upg {

struct Progress {
  std::string_view tensor;  // what is being worked on
  int64_t tensors_done = 0;
  int64_t tensors_total = 0;
  uint64_t elements_done = 0;
  uint64_t elements_total = 0;
  uint64_t bytes_written = 0;
  double relative_error = 0;   // of the last finished tensor: |w - w'| / |w|
  double bits_per_weight = 0;  // of what is written so far
  double elements_per_second = 0;
  double seconds_left = 0;
  double share = 0;  // of the work that is done, 0 ... 1
};

// Called from the working thread a few times a second and before each tensor. Returning false stops
// the work with Error(kCancelled), leaving no file.
using ProgressCallback = std::function<bool(const Progress&)>;

inline constexpr const char* kNoCalibration = "none";
inline constexpr const char* kBundledCalibration = "default";  // public-domain English books

struct CompressOptions {
  std::string profile = "10x";  // 10x, sparse, mdcsr, 8bit, raw
  double sparsity = 0.5;        // sparse, mdcsr: share of zeros, 0 <= s < 1
  // Pattern with * and ?, codec: applied in order, the last match wins. A pattern also matches a
  // name without its ".weight".
  std::vector<std::pair<std::string, std::string>> tensor_codecs;
  // The text that paths and sparse matrices are calibrated on: a file, kBundledCalibration, or
  // kNoCalibration.
  std::string calibrate = kBundledCalibration;
  int calibration_windows = 128;  // of 1,024 tokens at most
  // A target for the whole file, embedding, head, scales and header included; 0: none. Profile 10x.
  double ratio = 0;  // float32 bytes over file bytes
  double bits = 0;   // a weight
  // A plan (JSON) that is used when it exists and written when it does not; may be empty.
  std::filesystem::path plan_file;
  // Bytes of memory it may take, 0: no limit. Activations go to a file beside the output when they
  // do not fit; what does not fit even then is an error.
  uint64_t max_ram = 0;
  int threads = 0;  // 0: the physical cores this process may use
  // Where calibration computes: cpu, cuda, cuda:N. Same file format, not the same bytes.
  std::string device = "cpu";
  bool force = false;  // replace an existing output; start over where a journal lies
  // Go on with the journal (OUTPUT.journal) that a calibrated compression leaves when it is
  // stopped: the same job only. Without a journal everything starts afresh.
  bool resume = false;
  // The journal also keeps the calibration's activations, once a layer at most, when running the
  // text has taken that many seconds since it last did.
  double keep_streams_seconds = 60;
  // Told what a person may want to know beside progress: one line each.
  std::function<void(std::string_view line)> note;
};

// One matrix or vector of the plan.
struct PlannedTensor {
  std::string name;
  std::string codec;  // "path3"; "f32" for norms and biases
  int64_t rows = 0;
  int64_t cols = 0;
  uint64_t bytes = 0;
  bool rotated = false;
  bool chosen = false;       // its codec was chosen to meet a target
  bool keeps_zeros = false;  // it is sparse in the checkpoint (known once weights are read)
  // What coding it as planned adds to the divergence from the original's predictions, in nats a
  // token: measured before feedback; 0 where it was not.
  double kl = 0;
};

// What a compression will do, from the headers alone.
struct CompressPlan {
  std::vector<PlannedTensor> tensors;
  uint64_t parameters = 0;
  uint64_t layer_parameters = 0;  // of the layers' matrices
  uint64_t output_bytes = 0;
  double ratio_f32 = 0;           // 4 * parameters / output_bytes
  double bits_per_weight = 0;     // 8 * output_bytes / parameters
  double layer_bits = 0;          // layer matrices here, their side data included
  double layer_bits_at_5120 = 0;  // the same codecs with overheads counted as at 5,120 columns
  uint64_t peak_ram_bytes = 0;
  uint64_t disk_bytes = 0;      // free space needed while it runs
  double expected_kl = 0;       // of all tensors
  double seconds_estimate = 0;  // from a short measurement of this machine's encoder
};

// With a ratio, bits or a plan file that does not exist yet, sensitivities are measured, which
// reads every weight; otherwise from the headers alone.
CompressPlan plan_compression(const std::filesystem::path& checkpoint,
                              const CompressOptions& options,
                              const ProgressCallback& progress = {});

// Seconds by what they went into.
struct CompressTimes {
  double forward = 0;  // the calibration text through the layers
  double moments = 0;  // sums over the inputs of matrices
  double factor = 0;   // their factorisation
  double coding = 0;   // of all matrices, reading them included
  double writing = 0;  // output and journal
};

struct CompressResult {
  CompressPlan plan;
  CompressTimes times;
  int resumed_matrices = 0;  // taken from the journal
  uint64_t file_bytes = 0;
  double ratio_f32 = 0;
  double bits_per_weight = 0;
  double relative_error = 0;  // of all matrices together
  double seconds = 0;
};

CompressResult compress(const std::filesystem::path& checkpoint,
                        const std::filesystem::path& output, const CompressOptions& options,
                        const ProgressCallback& progress = {});

// Writes a Hugging Face checkpoint folder (config, tokenizer files, model.safetensors or shards of
// at most 5 GB) with dense weights. dtype: "bf16", "f16", "f32"; empty: each tensor's own of the
// source. The folder appears whole or not at all; it must be new or empty. cols: the least number
// of columns of matrices in version 2 files that do not say it; 0: what their indices need.
void decompress(const std::filesystem::path& file, const std::filesystem::path& folder,
                std::string_view dtype, int threads = 0, const ProgressCallback& progress = {},
                int64_t cols = 0);

// One way to compress a checkpoint, as measured before doing it.
struct Recommendation {
  std::string flags;  // of upg compress: "--ratio 8"
  uint64_t file_bytes = 0;
  double ratio_f32 = 0;
  double bits_per_weight = 0;
  double expected_kl = 0;        // nats a token, without feedback: calibrated files lose less
  uint64_t bytes_per_token = 0;  // read for each token generated
};

// Smallest first. Reads every weight and runs the model on a little of options.calibrate, which
// must not be kNoCalibration.
std::vector<Recommendation> recommend(const std::filesystem::path& checkpoint,
                                      const CompressOptions& options,
                                      const ProgressCallback& progress = {});

struct TensorReport {
  std::string name;
  std::string codec;
  int64_t rows = 0;
  int64_t cols = 0;
  double bits_per_weight = 0;
  uint64_t bytes = 0;
  // As its compression measured them; 0: not said.
  double relative_error = 0;
  double loss = 0;  // share of its outputs' power, over the calibration text
};

struct InspectReport {
  std::string file;
  std::string version;  // "3.0", "2.0"; "checkpoint"
  std::string profile;
  std::string architecture;
  uint64_t parameters = 0;
  uint64_t file_bytes = 0;
  double bits_per_weight = 0;
  double layer_bits_at_5120 = 0;
  double ratio_f32 = 0;
  std::string compression;  // JSON: how it was made (docs/format.md)
  std::string quality;      // JSON: measured quality, or empty
  std::vector<TensorReport> tensors;
};

InspectReport inspect(const std::filesystem::path& file);

struct VerifyReport {
  bool ok = false;
  std::vector<std::string> errors;
  struct TensorError {
    std::string name;
    double relative_error = 0;  // |w - w'| / |w|
  };
  std::vector<TensorError> tensors;  // with a source
  double relative_error = 0;         // of all matrices together, with a source
};

// source: a checkpoint folder, or empty for checksums and structure alone.
VerifyReport verify(const std::filesystem::path& file, const std::filesystem::path& source,
                    int threads = 0, const ProgressCallback& progress = {});

}  // namespace upg
