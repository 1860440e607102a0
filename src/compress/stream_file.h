// The residual streams of both models before a layer, as a file of the journal: with it a job goes
// on at that layer and need not run the text through the layers before.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "compress/calibration_track.h"

namespace upg::compression {

// What is written or read: both tracks stand before that layer.
struct StreamFile {
  std::filesystem::path file;
  std::string_view job;  // hash of what the job is
  int layer = 0;
  int windows = 0;
  int64_t tokens = 0;
  int64_t hidden = 0;
  uint64_t bytes() const noexcept;
};

// Atomic and synced, a window in memory at a time. tick is called between windows; it may throw to
// stop. Throws Error(kIo).
void write_streams(const StreamFile& what, CalibrationTrack& original, CalibrationTrack& compressed,
                   const std::function<void()>& tick);

// Throws Error(kInvalidData) when the file is not, to the bit, what was written for that job and
// layer; the streams are then undefined.
void read_streams(const StreamFile& what, CalibrationTrack& original, CalibrationTrack& compressed,
                  const std::function<void()>& tick);

}  // namespace upg::compression
