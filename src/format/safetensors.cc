#include "format/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>

#include "base/text.h"
#include "format/file_kind.h"
#include "format/json_cursor.h"
#include "upg/error.h"

namespace upg::format {
namespace {

constexpr uint64_t kMaxOffset = std::numeric_limits<int64_t>::max();

[[noreturn]] void fail(std::string_view file, std::string_view code, std::string_view message) {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("{}: {} ({})", base::printable(file), message, code));
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The header's JSON: after the length, before the data.
std::string_view find_header(std::span<const std::byte> bytes, std::string_view file) {
  // A wrong file is more often another kind of file than a damaged one.
  const auto fail_unless_kind = [&](std::string_view code, const std::string& message) {
    const std::string_view kind = known_kind(bytes);
    if (kind.empty()) fail(file, code, message);
    fail(file, "KIND", fmt::format("looks like {}", kind));
  };
  if (bytes.size() < 8) {
    fail_unless_kind("SIZE", fmt::format("{} bytes, allowed are at least 8", bytes.size()));
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > kMaxHeaderBytes) {
    fail_unless_kind("LIMIT", fmt::format("header of {} bytes in a file of {}, allowed are {}",
                                          length, bytes.size(), kMaxHeaderBytes));
  }
  if (length < 2 || length > bytes.size() - 8) {
    fail_unless_kind("HDRLEN", fmt::format("header of {} bytes in a file of {}, allowed are 2 to "
                                           "the file's size less 8",
                                           length, bytes.size()));
  }
  const std::string_view header = as_text(bytes.subspan(8, length));
  if (header[0] != '{') {
    fail_unless_kind("JSON", fmt::format("header starts with '{}' at byte 8, allowed is '{{'",
                                         base::printable(header.substr(0, 1))));
  }
  const size_t valid = base::valid_utf8_prefix(header);
  if (valid != header.size()) {
    fail(file, "UTF8", fmt::format("header: invalid UTF-8 at byte {}", valid + 8));
  }
  return header;
}

// Where a tensor says that it lies, in the data section, and where the header says so.
struct Span {
  uint64_t begin;
  uint64_t end;
  uint64_t header_offset;
};

class HeaderReader {
 public:
  HeaderReader(std::span<const std::byte> bytes, std::string_view file,
               const SafetensorsLimits& limits)
      : file_(file),
        header_(find_header(bytes, file)),
        data_(bytes.subspan(8 + header_.size())),
        limits_(limits),
        cursor_(header_, file, 8) {}

  ParsedSafetensors read() {
    cursor_.object("header", "JSON", [&](std::string key, uint64_t at) {
      if (key == "__metadata__") {
        read_metadata(at);
      } else {
        read_tensor(std::move(key), at);
      }
    });
    const size_t padding = cursor_.rest().find_first_not_of(' ');
    if (padding != std::string_view::npos) {
      cursor_.fail("JSON", "after the header's object: found other bytes than spaces");
    }
    check_names();
    sort_by_offset();
    check_coverage();
    return std::move(parsed_);
  }

 private:
  void read_metadata(uint64_t at) {
    if (seen_metadata_) cursor_.fail_at(at, "DUP", "__metadata__ occurs twice");
    seen_metadata_ = true;
    constexpr size_t kEntryCost = 64;  // so that many empty entries count too
    size_t total = 0;
    cursor_.object("__metadata__", "FIELD", [&](std::string key, uint64_t key_at) {
      total += key.size() + kEntryCost;
      const size_t left = limits_.metadata_bytes - std::min(limits_.metadata_bytes, total);
      if (left == 0) {
        cursor_.fail("LIMIT",
                     fmt::format("__metadata__: more than {} bytes", limits_.metadata_bytes));
      }
      cursor_.set_context(fmt::format("__metadata__: \"{}\": ", base::printable(key)));
      std::string value = cursor_.string("value", "FIELD", left);
      total += value.size();
      const bool fresh = parsed_.metadata.emplace(std::move(key), std::move(value)).second;
      if (!fresh) cursor_.fail_at(key_at, "DUP", "key occurs twice");
      cursor_.set_context("");
    });
  }

  void read_tensor(std::string name, uint64_t at) {
    if (parsed_.tensors.size() == kMaxTensors) {
      cursor_.fail_at(at, "LIMIT", fmt::format("more than {} tensors", kMaxTensors));
    }
    cursor_.set_context(fmt::format("tensor \"{}\": ", base::printable(name)));
    std::optional<base::DType> dtype;
    std::optional<std::vector<int64_t>> shape;
    std::optional<Span> span;
    cursor_.object("entry", "FIELD", [&](const std::string& key, uint64_t key_at) {
      const bool again =
          (key == "dtype" && dtype) || (key == "shape" && shape) || (key == "data_offsets" && span);
      if (again) cursor_.fail_at(key_at, "DUP", fmt::format("{} occurs twice", key));
      if (key == "dtype") {
        dtype = read_dtype();
      } else if (key == "shape") {
        shape = read_shape();
      } else if (key == "data_offsets") {
        span = read_span(at);
      } else {
        cursor_.fail_at(key_at, "FIELD",
                        fmt::format("found a field \"{}\", allowed are dtype, shape, data_offsets",
                                    base::printable(key)));
      }
    });
    if (!dtype || !shape || !span) {
      cursor_.fail_at(at, "FIELD",
                      fmt::format("{} is missing", !dtype   ? "dtype"
                                                   : !shape ? "shape"
                                                            : "data_offsets"));
    }
    check_size(*dtype, *shape, *span);
    TensorEntry entry;
    entry.name = std::move(name);
    entry.view = {*dtype, std::move(*shape), data_.subspan(span->begin, span->end - span->begin)};
    entry.offset = 8 + header_.size() + span->begin;
    parsed_.tensors.push_back(std::move(entry));
    spans_.push_back(*span);
    cursor_.set_context("");
  }

  base::DType read_dtype() {
    const uint64_t at = cursor_.offset();
    const std::string text = cursor_.string("dtype", "FIELD", 64);
    const auto dtype = base::parse_dtype(text);
    if (!dtype) {
      cursor_.fail_at(at, "DTYPE",
                      fmt::format("dtype: found \"{}\", allowed are BOOL, U8, I8, U16, I16, F16, "
                                  "BF16, U32, I32, F32, U64, I64, F64",
                                  base::printable(text)));
    }
    return *dtype;
  }

  std::vector<int64_t> read_shape() {
    std::vector<int64_t> shape;
    cursor_.array("shape", "FIELD", [&] {
      if (shape.size() == kMaxRank) {
        cursor_.fail("LIMIT", fmt::format("shape: more than {} dimensions", kMaxRank));
      }
      shape.push_back(static_cast<int64_t>(cursor_.integer("shape", "SHAPE", kMaxOffset)));
    });
    return shape;
  }

  Span read_span(uint64_t at) {
    std::vector<uint64_t> ends;
    cursor_.array("data_offsets", "FIELD", [&] {
      if (ends.size() == 2) cursor_.fail("FIELD", "data_offsets: more than 2 entries");
      ends.push_back(cursor_.integer("data_offsets", "FIELD", kMaxOffset));
    });
    if (ends.size() != 2) {
      cursor_.fail("FIELD",
                   fmt::format("data_offsets: {} entries, allowed are exactly 2", ends.size()));
    }
    return {ends[0], ends[1], at};
  }

  // The span lies in the data and is as long as type and shape say.
  void check_size(base::DType dtype, const std::vector<int64_t>& shape, const Span& span) {
    uint64_t bits = base::size_of(dtype) * 8;
    bool fits = true;
    bool empty = false;
    for (const int64_t extent : shape) {
      empty = empty || extent == 0;
      if (extent == 0) continue;  // the others must still multiply without wrapping
      fits = fits && !__builtin_mul_overflow(bits, static_cast<uint64_t>(extent), &bits);
    }
    if (!fits) {
      cursor_.fail_at(
          span.header_offset, "OVERFLOW",
          fmt::format("shape {}: its size in bits exceeds 64 bits", base::shape_text(shape)));
    }
    const auto offsets = [&] { return fmt::format("data_offsets [{},{})", span.begin, span.end); };
    if (span.begin > span.end || span.end > data_.size()) {
      cursor_.fail_at(
          span.header_offset, "OFFSET",
          fmt::format("{}: allowed are ascending offsets within the data section ({} bytes)",
                      offsets(), data_.size()));
    }
    const uint64_t bytes = empty ? 0 : bits / 8;
    if (span.end - span.begin != bytes) {
      cursor_.fail_at(
          span.header_offset, "MISMATCH",
          fmt::format("{} hold {} bytes, {} of shape {} needs {}", offsets(), span.end - span.begin,
                      base::name_of(dtype), base::shape_text(shape), bytes));
    }
  }

  void check_names() {
    std::vector<uint32_t> order(parsed_.tensors.size());
    std::iota(order.begin(), order.end(), 0u);
    const auto name = [&](uint32_t i) -> const std::string& { return parsed_.tensors[i].name; };
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return name(a) != name(b) ? name(a) < name(b) : a < b;
    });
    for (size_t i = 1; i < order.size(); ++i) {
      if (name(order[i - 1]) != name(order[i])) continue;
      cursor_.fail_at(
          spans_[order[i]].header_offset, "DUP",
          fmt::format("tensor \"{}\" occurs twice, first at byte {}",
                      base::printable(name(order[i])), spans_[order[i - 1]].header_offset));
    }
  }

  void sort_by_offset() {
    std::vector<uint32_t> order(spans_.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      const Span& x = spans_[a];
      const Span& y = spans_[b];
      if (x.begin != y.begin) return x.begin < y.begin;
      return x.end != y.end ? x.end < y.end : a < b;
    });
    std::vector<TensorEntry> tensors;
    std::vector<Span> spans;
    tensors.reserve(order.size());
    spans.reserve(order.size());
    for (const uint32_t i : order) {
      tensors.push_back(std::move(parsed_.tensors[i]));
      spans.push_back(spans_[i]);
    }
    parsed_.tensors = std::move(tensors);
    spans_ = std::move(spans);
  }

  // From the first byte to the last, no holes, no overlaps.
  void check_coverage() {
    uint64_t covered = 0;
    const auto neighbour = [&](size_t i) {
      return i == 0 ? std::string("the start of the data")
                    : fmt::format("tensor \"{}\"", base::printable(parsed_.tensors[i - 1].name));
    };
    for (size_t i = 0; i < spans_.size(); ++i) {
      const std::string_view name = parsed_.tensors[i].name;
      if (spans_[i].begin > covered) {
        cursor_.fail_at(
            spans_[i].header_offset, "COVER",
            fmt::format("{} bytes that belong to no tensor between {} and tensor "
                        "\"{}\"",
                        spans_[i].begin - covered, neighbour(i), base::printable(name)));
      }
      if (spans_[i].begin < covered) {
        cursor_.fail_at(spans_[i].header_offset, "OFFSET",
                        fmt::format("tensor \"{}\" at data offset {} overlaps {}, which ends at {}",
                                    base::printable(name), spans_[i].begin, neighbour(i), covered));
      }
      covered = spans_[i].end;
    }
    if (covered != data_.size()) {
      cursor_.fail_at(
          8 + header_.size() + covered, "COVER",
          fmt::format("{} extra bytes after {}", data_.size() - covered, neighbour(spans_.size())));
    }
  }

  std::string_view file_;
  std::string_view header_;
  std::span<const std::byte> data_;
  SafetensorsLimits limits_;
  JsonCursor cursor_;
  ParsedSafetensors parsed_;
  std::vector<Span> spans_;
  bool seen_metadata_ = false;
};

}  // namespace

ParsedSafetensors parse_safetensors(std::span<const std::byte> bytes, std::string_view file,
                                    const SafetensorsLimits& limits) {
  return HeaderReader(bytes, file, limits).read();
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path, const SafetensorsLimits& limits)
    : SafetensorsFile(base::MappedFile(path), limits) {}

SafetensorsFile::SafetensorsFile(base::MappedFile file, const SafetensorsLimits& limits)
    : file_(std::move(file)) {
  ParsedSafetensors parsed = parse_safetensors(file_.bytes(), file_.path().native(), limits);
  tensors_ = std::move(parsed.tensors);
  metadata_ = std::move(parsed.metadata);
  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::sort(by_name_.begin(), by_name_.end(),
            [&](uint32_t a, uint32_t b) { return tensors_[a].name < tensors_[b].name; });
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](uint32_t i, std::string_view key) { return tensors_[i].name < key; });
  if (found == by_name_.end() || tensors_[*found].name != name) return nullptr;
  return &tensors_[*found];
}

std::string_view SafetensorsFile::header_text() const noexcept {
  uint64_t length = 0;
  std::memcpy(&length, file_.bytes().data(), sizeof(length));
  return as_text(file_.bytes().subspan(8, length));
}

}  // namespace upg::format
