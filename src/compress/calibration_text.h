// The text a compression is calibrated on, as windows of tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace upg::compression {

struct CalibrationText {
  int windows = 0;
  int tokens = 0;            // a window
  std::vector<int32_t> ids;  // [windows, tokens]

  std::span<const int32_t> window(int index) const {
    return std::span(ids).subspan(static_cast<size_t>(index) * static_cast<size_t>(tokens),
                                  static_cast<size_t>(tokens));
  }
};

// The text that CompressOptions::calibrate names: a file's, or the bundled one. Not for
// kNoCalibration. Throws Error(kIo).
std::string calibration_source(const std::string& calibrate);

inline constexpr int kMinCalibrationWindows = 4;

// At most `windows` windows of `tokens` tokens, evenly spread over the text. `name` is for
// messages. Throws Error(kInvalidData): empty, not UTF-8, binary, or too short for
// kMinCalibrationWindows windows (the number of tokens needed is said).
CalibrationText cut_windows(std::string_view text, std::string_view name,
                            const tokenizer::Tokenizer& tokenizer, int windows, int tokens);
// The same with the checkpoint's own tokenizer, whose ids must lie in its vocabulary.
CalibrationText read_calibration(std::string_view text, std::string_view name,
                                 const format::Checkpoint& checkpoint, int64_t vocabulary,
                                 int windows, int tokens);

// The text that comes with upg: public-domain English books.
std::string_view bundled_calibration_text();

}  // namespace upg::compression
