// What a calibrated compression has finished, on disk beside its output, so that a run that was
// stopped in any way can go on where it was.
//
// The folder OUTPUT.journal holds job.json, which says what determines the result, plan.json where
// codecs were chosen by measuring, streams-00003.layer, activations before layer 3, and a file a
// finished matrix (00012.matrix is that of tensor 12
// of the plan): a safetensors file with the parts of its codec. Each appears whole, synced to disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/encode.h"

namespace upg::compression {

// Everything that the bytes of the result depend on: what people call it, and its value.
using JobFields = std::vector<std::pair<std::string, std::string>>;

class Journal {
 public:
  static std::filesystem::path folder_of(const std::filesystem::path& output);
  // The number of finished matrices that an earlier run left for this output; nothing when there
  // are none. Throws Error(kUsage): another process works with it, or the folder is something
  // else.
  static std::optional<int> find(const std::filesystem::path& output);

  // Removes it, if there is one.
  static void discard(const std::filesystem::path& output);

  // resume: goes on with the journal that is there, if there is one, and throws Error(kUsage)
  // naming the fields in which its job differs, kInvalidData when job.json is damaged. Otherwise
  // removes it and starts afresh.
  Journal(const std::filesystem::path& output, const JobFields& job, bool resume);
  ~Journal();  // removes the folder when nothing is in it that is worth keeping
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  bool holds(size_t index) const;  // whether there is a file of that matrix

  // The matrix as an earlier run finished it, or nothing. A file that is not what was written
  // counts as nothing; `damaged` gets told why.
  std::optional<EncodedMatrix> load(size_t index, std::string_view tensor,
                                    const std::function<void(std::string_view)>& damaged) const;
  void store(size_t index, std::string_view tensor, const EncodedMatrix& matrix);
  int finished() const noexcept { return finished_; }  // matrices that it holds

  // Where the activations before a layer are kept (compress/stream_file.h), and the last layer they
  // were kept of.
  std::filesystem::path streams_file(int layer) const;
  std::optional<int> streams_layer() const;
  void drop_streams_before(int layer);

  const std::string& job() const noexcept { return job_; }

  // Where the choice of codecs is kept, for those who make one (compress/plan_file.h).
  static std::filesystem::path plan_file(const std::filesystem::path& output);

  void remove();  // the job is done

  // What files of that many bytes of parts take on disk beyond them.
  static uint64_t overhead(uint64_t matrices) noexcept { return matrices * 8192; }

 private:
  std::filesystem::path file_of(size_t index) const;
  void check_job(const JobFields& job) const;
  void write_job(const JobFields& job) const;

  std::filesystem::path folder_;
  std::string job_;  // hash of the fields
  int lock_ = -1;    // the folder, open and locked
  int finished_ = 0;
  bool removed_ = false;
};

}  // namespace upg::compression
