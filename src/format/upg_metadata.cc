#include "format/upg_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>

#include "base/check.h"
#include "base/json.h"
#include "base/text.h"
#include "format/json_cursor.h"

namespace upg::format {
namespace {

constexpr size_t kMaxCodecName = 32;
constexpr size_t kDigits = 16;

std::optional<uint64_t> parse_hex(std::string_view text) {
  uint64_t value = 0;
  const bool plain = text.size() == kDigits && std::all_of(text.begin(), text.end(), [](char c) {
                       return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                     });
  if (!plain) return std::nullopt;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxMatrixName &&
         std::none_of(name.begin(), name.end(),
                      [](char c) { return static_cast<uint8_t>(c) < 0x20 || c == 0x7f; });
}

// Digits without a leading zero.
std::optional<int> parse_number(std::string_view text) {
  int value = 0;
  if (text.empty() || text.size() > 4 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

class RecordReader {
 public:
  explicit RecordReader(JsonCursor& cursor) : cursor_(cursor) {}

  MatrixRecord read(std::string name, uint64_t at) {
    cursor_.set_context(fmt::format("matrix \"{}\": ", base::printable(name)));
    if (!is_name(name)) {
      cursor_.fail_at(at, "FIELD",
                      fmt::format("name: allowed are 1 to {} bytes without control characters",
                                  kMaxMatrixName));
    }
    record_.name = name;
    record_.stem = std::move(name);
    record_.codec_version = 0;
    std::set<std::string> seen;
    cursor_.object("record", "FIELD", [&](std::string key, uint64_t key_at) {
      read_field(key);
      if (seen.size() == 64) cursor_.fail_at(key_at, "LIMIT", "more than 64 fields");
      if (!seen.insert(std::move(key)).second) {
        cursor_.fail_at(key_at, "DUP", "a field occurs twice");
      }
    });
    for (const char* key : {"codec", "codec_version", "rows", "cols"}) {
      if (!seen.contains(key)) cursor_.fail_at(at, "FIELD", fmt::format("{} is missing", key));
    }
    cursor_.set_context("");
    return std::move(record_);
  }

 private:
  // Fields that a later minor version may add are skipped.
  void read_field(std::string_view key) {
    if (key == "codec") {
      record_.codec = text(key, kMaxCodecName);
    } else if (key == "codec_version") {
      record_.codec_version = static_cast<int>(positive(key));
    } else if (key == "rows") {
      record_.rows = positive(key);
    } else if (key == "cols") {
      record_.cols = positive(key);
    } else if (key == "stem") {
      record_.stem = text(key, kMaxMatrixName);
    } else if (key == "source_dtype") {
      record_.source_dtype = text(key, kMaxCodecName);
      if (!is_float(record_.source_dtype)) {
        cursor_.fail("FIELD", fmt::format("source_dtype: found \"{}\", allowed are F32, F16, BF16",
                                          base::printable(record_.source_dtype)));
      }
    } else if (key == "params") {
      read_params();
    } else {
      cursor_.skip_value();
    }
  }

  void read_params() {
    bool seen = false;
    cursor_.object("params", "FIELD", [&](const std::string& key, uint64_t at) {
      if (key != "signs") return cursor_.skip_value();
      if (seen) cursor_.fail_at(at, "DUP", "params.signs occurs twice");
      seen = true;
      record_.signs = text("params.signs", kMaxMatrixName);
    });
  }

  std::string text(std::string_view key, size_t max_bytes) {
    const uint64_t at = cursor_.offset();
    std::string value = cursor_.string(key, "FIELD", max_bytes);
    if (!is_name(value)) {
      cursor_.fail_at(at, "FIELD",
                      fmt::format("{}: found \"{}\", allowed are 1 to {} bytes without control "
                                  "characters",
                                  key, base::printable(value), max_bytes));
    }
    return value;
  }

  int64_t positive(std::string_view key) {
    const uint64_t at = cursor_.offset();
    const auto value = static_cast<int64_t>(cursor_.integer(key, "FIELD", kMaxExtent));
    if (value < 1) {
      cursor_.fail_at(at, "FIELD",
                      fmt::format("{}: found 0, allowed are 1 to {}", key, kMaxExtent));
    }
    return value;
  }

  static bool is_float(std::string_view dtype) {
    return dtype == "F32" || dtype == "F16" || dtype == "BF16";
  }

  JsonCursor& cursor_;
  MatrixRecord record_;
};

void check_text_end(JsonCursor& cursor) {
  if (cursor.rest().find_first_not_of(" \t\r\n") != std::string_view::npos) {
    cursor.fail("JSON", "more text after the object");
  }
}

}  // namespace

void fail_upg(std::string_view file, std::string_view word, std::string_view message,
              ErrorCode code) {
  throw Error(code, fmt::format("{}: {} ({})", base::printable(file), message, word));
}

std::string_view field(const Metadata& metadata, std::string_view key) noexcept {
  const auto found = metadata.find(key);
  return found == metadata.end() ? std::string_view() : std::string_view(found->second);
}

int major_version(const Metadata& metadata, std::string_view file) {
  if (!metadata.contains("version")) {
    fail_upg(file, "KIND",
             "a safetensors file without a UPG version in its metadata; a checkpoint is given by "
             "its folder");
  }
  const std::string_view version = field(metadata, "version");
  const size_t dot = version.find('.');
  const auto major = parse_number(version.substr(0, dot));
  const auto minor =
      dot == std::string_view::npos ? std::nullopt : parse_number(version.substr(dot + 1));
  if (!major || !minor || (*major != 2 && *major != 3)) {
    fail_upg(file, "VERSION",
             fmt::format("version: found \"{}\", this build reads 2.x and 3.x",
                         base::printable(version)),
             ErrorCode::kUnsupported);
  }
  if (*major == 3 && field(metadata, "format") != "upg") {
    fail_upg(file, "FIELD",
             fmt::format("format: found \"{}\", allowed is \"upg\"",
                         base::printable(field(metadata, "format"))));
  }
  return *major;
}

UpgInfo parse_info(const Metadata& metadata, std::string_view file) {
  const auto text = [&](std::string_view key) { return std::string(field(metadata, key)); };
  UpgInfo info;
  info.version = text("version");
  info.profile = text("profile");
  info.config = text("config");
  info.generation_config = text("generation_config");
  info.chat_template = text("chat_template");
  info.compression = text("compression");
  info.quality = text("quality");
  if (metadata.contains("matrices")) {
    info.matrices = parse_matrices(field(metadata, "matrices"), file);
  }
  return info;
}

std::vector<MatrixRecord> parse_matrices(std::string_view text, std::string_view file) {
  JsonCursor cursor(text, fmt::format("{}: metadata \"matrices\"", base::printable(file)), 0);
  std::vector<MatrixRecord> matrices;
  std::set<std::string> names;
  cursor.object("matrices", "FIELD", [&](std::string name, uint64_t at) {
    if (matrices.size() == kMaxTensors) {
      cursor.fail_at(at, "LIMIT", fmt::format("more than {} matrices", kMaxTensors));
    }
    if (!names.insert(name).second) {
      cursor.fail_at(at, "DUP", fmt::format("matrix \"{}\" occurs twice", base::printable(name)));
    }
    matrices.push_back(RecordReader(cursor).read(std::move(name), at));
  });
  check_text_end(cursor);
  return matrices;
}

std::string matrices_text(const std::vector<MatrixRecord>& matrices) {
  std::string out = "{";
  for (const MatrixRecord& matrix : matrices) {
    if (out.size() > 1) out.push_back(',');
    out += fmt::format("{}:{{\"codec\":{},\"codec_version\":{},\"rows\":{},\"cols\":{}",
                       base::json_quote(matrix.name), base::json_quote(matrix.codec),
                       matrix.codec_version, matrix.rows, matrix.cols);
    if (!matrix.stem.empty() && matrix.stem != matrix.name) {
      out += fmt::format(",\"stem\":{}", base::json_quote(matrix.stem));
    }
    out += ",\"params\":{";
    if (!matrix.signs.empty()) out += fmt::format("\"signs\":{}", base::json_quote(matrix.signs));
    out.push_back('}');
    if (!matrix.source_dtype.empty()) {
      out += fmt::format(",\"source_dtype\":{}", base::json_quote(matrix.source_dtype));
    }
    out.push_back('}');
  }
  return out + "}";
}

Checksums parse_checksums(std::string_view text, std::string_view file) {
  JsonCursor cursor(text, fmt::format("{}: metadata \"checksums\"", base::printable(file)), 0);
  Checksums checksums;
  cursor.object("checksums", "FIELD", [&](std::string name, uint64_t at) {
    const std::string digits = cursor.string("checksum", "SUM", kMaxMatrixName);
    const auto value = parse_hex(digits);
    if (!value) {
      cursor.fail_at(at, "SUM",
                     fmt::format("tensor \"{}\": found \"{}\", allowed are 16 lower-case "
                                 "hexadecimal digits",
                                 base::printable(name), base::printable(digits)));
    }
    if (!checksums.emplace(std::move(name), *value).second) {
      cursor.fail_at(at, "DUP", "a tensor occurs twice");
    }
  });
  check_text_end(cursor);
  return checksums;
}

std::string checksums_text(const std::map<std::string, uint64_t>& checksums) {
  std::string out = "{";
  for (const auto& [name, value] : checksums) {
    if (out.size() > 1) out.push_back(',');
    out += fmt::format("{}:\"{}\"", base::json_quote(name), base::hex64(value));
  }
  return out + "}";
}

HeaderChecksum header_checksum(std::string_view header, std::string_view file) {
  // Inside a JSON string the quotes would be escaped: the first occurrence is the field.
  const size_t key = header.find(kChecksumKey);
  const size_t digits = key + kChecksumKey.size();
  if (key == std::string_view::npos || digits + kDigits > header.size()) {
    fail_upg(file, "SUM", "header_checksum is missing");
  }
  HeaderChecksum checksum;
  checksum.found = header.substr(digits, kDigits);
  std::string zeroed(header);
  zeroed.replace(digits, kDigits, kNoChecksum);
  checksum.computed = base::hex64(base::xxh3(std::as_bytes(std::span(zeroed))));
  return checksum;
}

void seal_header(std::string& header) {
  const size_t digits = header.find(kChecksumKey) + kChecksumKey.size();
  UPG_CHECK(digits >= kChecksumKey.size() && digits + kDigits <= header.size());
  header.replace(digits, kDigits, kNoChecksum);
  header.replace(digits, kDigits, base::hex64(base::xxh3(std::as_bytes(std::span(header)))));
}

}  // namespace upg::format
