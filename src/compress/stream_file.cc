#include "compress/stream_file.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <map>
#include <string>

#include "base/file.h"
#include "base/text.h"
#include "format/safetensors.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using Metadata = std::map<std::string, std::string, std::less<>>;

constexpr uint64_t kHeaderRoom = 4096;
constexpr uint64_t kWindowRoom = 256;  // of the header: one tensor

struct Track {
  std::string_view name;
  CalibrationTrack* track;
};

std::string tensor_name(const Track& track, int window) {
  return fmt::format("{}.{:05}", track.name, window);
}

size_t window_bytes(const StreamFile& what) {
  return sizeof(float) * static_cast<size_t>(what.tokens) * static_cast<size_t>(what.hidden);
}

Metadata metadata_of(const StreamFile& what, const base::Xxh3& hash) {
  return {{"job", std::string(what.job)},
          {"layer", fmt::format("{}", what.layer)},
          {"checksum", base::hex64(hash.value())}};
}

[[noreturn]] void refuse(const StreamFile& what, const std::string& why) {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("{}: {}", base::printable(what.file.native()), why));
}

}  // namespace

uint64_t StreamFile::bytes() const noexcept {
  return 2 * static_cast<uint64_t>(windows) * (window_bytes(*this) + kWindowRoom) + kHeaderRoom;
}

void write_streams(const StreamFile& what, CalibrationTrack& original, CalibrationTrack& compressed,
                   const std::function<void()>& tick) {
  const std::array<Track, 2> tracks = {Track{"original", &original},
                                       Track{"compressed", &compressed}};
  const auto windows = static_cast<uint64_t>(what.windows);
  format::SafetensorsWriter writer(what.file, kHeaderRoom + 2 * windows * kWindowRoom);
  const std::array<int64_t, 2> shape = {what.tokens, what.hidden};
  base::Xxh3 hash;
  for (const Track& one : tracks) {
    for (int window = 0; window < what.windows; ++window) {
      const auto* data = reinterpret_cast<const std::byte*>(one.track->stream(window));
      const std::span<const std::byte> bytes(data, window_bytes(what));
      writer.append(tensor_name(one, window), base::DType::kF32, shape, bytes);
      hash.add(bytes);
      one.track->release(window);
      if (tick) tick();
    }
  }
  writer.finish(writer.header(metadata_of(what, hash)));
}

void read_streams(const StreamFile& what, CalibrationTrack& original, CalibrationTrack& compressed,
                  const std::function<void()>& tick) {
  const std::array<Track, 2> tracks = {Track{"original", &original},
                                       Track{"compressed", &compressed}};
  const format::SafetensorsFile stored(what.file);
  base::Xxh3 hash;
  for (const Track& one : tracks) {
    for (int window = 0; window < what.windows; ++window) {
      const std::string name = tensor_name(one, window);
      const format::TensorEntry* entry = stored.find(name);
      if (entry == nullptr || entry->view.bytes.size() != window_bytes(what)) {
        refuse(what, fmt::format("tensor {} is missing or of another size (MISMATCH)", name));
      }
      one.track->set_stream(window, entry->view.bytes);
      hash.add(entry->view.bytes);
      stored.file().release(entry->view.bytes);
      one.track->release(window);
      if (tick) tick();
    }
  }
  for (const auto& [key, value] : metadata_of(what, hash)) {
    const auto found = stored.metadata().find(key);
    if (found != stored.metadata().end() && found->second == value) continue;
    refuse(what, fmt::format("found {} {}, allowed is {} (SUM)", key,
                             found == stored.metadata().end() ? std::string("nothing")
                                                              : base::printable(found->second),
                             value));
  }
}

}  // namespace upg::compression
