#include "compress/calibration_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "upg/compress.h"
#include "upg/error.h"

// The text lies in the library's read-only data, so that nothing has to be found at run time.
__asm__(
    ".section .rodata\n"
    ".global upg_calibration_text_begin\n"
    "upg_calibration_text_begin:\n"
    ".incbin \"" UPG_CALIBRATION_TEXT
    "\"\n"
    ".global upg_calibration_text_end\n"
    "upg_calibration_text_end:\n"
    ".byte 0\n"
    ".previous\n");
extern "C" const char upg_calibration_text_begin[];
extern "C" const char upg_calibration_text_end[];

namespace upg::compression {
namespace {

constexpr size_t kMaxTextBytes = size_t{256} << 20;

[[noreturn]] void refuse(std::string_view name, const std::string& what) {
  throw Error(ErrorCode::kInvalidData, fmt::format("{}: {}", base::printable(name), what));
}

// One in so many bytes may be a control character, as old printers' files have them.
constexpr size_t kControlShare = 100;

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && (byte < '\t' || byte > '\r')) || byte == 0x7f;
}

void check_text(std::string_view text, std::string_view name) {
  if (text.empty()) refuse(name, "found an empty file, allowed is a text to calibrate on (SIZE)");
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    refuse(name, fmt::format("found a zero byte at {}, allowed is a text (KIND)", zero));
  }
  if (const size_t valid = base::valid_utf8_prefix(text); valid != text.size()) {
    refuse(name, fmt::format("found a byte that is not UTF-8 at {} (UTF8)", valid));
  }
  const auto controls = static_cast<size_t>(std::count_if(text.begin(), text.end(), is_control));
  if (controls > text.size() / kControlShare) {
    refuse(name, fmt::format("found {} control characters among {} bytes, allowed is a text (KIND)",
                             controls, text.size()));
  }
}

tokenizer::Tokenizer tokenizer_of(const format::Checkpoint& checkpoint) {
  const std::string& text = checkpoint.text("tokenizer.json");
  const std::string name = checkpoint.folder().native();
  if (text.empty()) {
    refuse(name,
           "holds no tokenizer.json, which calibration needs; --calibrate none goes without "
           "(MISSING)");
  }
  const std::string file = base::printable((checkpoint.folder() / "tokenizer.json").native());
  return tokenizer::Tokenizer::load(text, checkpoint.text("tokenizer_config.json"), file);
}

}  // namespace

std::string calibration_source(const std::string& calibrate) {
  if (calibrate == kBundledCalibration) return std::string(bundled_calibration_text());
  return base::read_file(calibrate, kMaxTextBytes);
}

CalibrationText read_calibration(std::string_view text, std::string_view name,
                                 const format::Checkpoint& checkpoint, int64_t vocabulary,
                                 int windows, int tokens) {
  CalibrationText out = cut_windows(text, name, tokenizer_of(checkpoint), windows, tokens);
  for (const int32_t id : out.ids) {
    if (id >= 0 && id < vocabulary) continue;
    refuse(
        checkpoint.folder().native(),
        fmt::format("the tokenizer gives id {}, allowed are 0 to {} (INDEX)", id, vocabulary - 1));
  }
  return out;
}

CalibrationText cut_windows(std::string_view text, std::string_view name,
                            const tokenizer::Tokenizer& tokenizer, int windows, int tokens) {
  check_text(text, name);
  const std::vector<int32_t> ids = tokenizer.encode(text, false);
  const auto length = static_cast<size_t>(tokens);
  const size_t available = ids.size() / length;
  if (available < kMinCalibrationWindows) {
    refuse(name, fmt::format("found {} tokens, needed are at least {} to calibrate on (SIZE)",
                             ids.size(), length * kMinCalibrationWindows));
  }
  const size_t count = std::min(static_cast<size_t>(windows), available);
  CalibrationText out;
  out.windows = static_cast<int>(count);
  out.tokens = tokens;
  for (size_t i = 0; i < count; ++i) {
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(i * available / count * length);
    out.ids.insert(out.ids.end(), first, first + tokens);
  }
  return out;
}

std::string_view bundled_calibration_text() {
  return {upg_calibration_text_begin,
          static_cast<size_t>(upg_calibration_text_end - upg_calibration_text_begin)};
}

}  // namespace upg::compression
