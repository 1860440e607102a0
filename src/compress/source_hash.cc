#include "compress/source_hash.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"

namespace upg::compression {
namespace {

constexpr size_t kPiece = size_t{8} << 20;

}  // namespace

SourceHash::SourceHash(const SourceModel& source)
    : source_(source), hashes_(source.specs.size()), known_(source.specs.size()) {}

uint64_t SourceHash::tensor(size_t index, const std::function<void()>& tick) {
  if (known_[index]) return hashes_[index];
  const format::TensorEntry& entry = *source_.entries[index];
  const std::span<const std::byte> bytes = entry.view.bytes;
  base::Xxh3 hash;
  for (size_t done = 0; done < bytes.size(); done += kPiece) {
    format::TensorEntry piece;
    piece.name = entry.name;
    piece.view.bytes = bytes.subspan(done, std::min(kPiece, bytes.size() - done));
    hash.add(piece.view.bytes);
    source_.checkpoint.release(piece);
    if (tick) tick();
  }
  hashes_[index] = hash.value();
  known_[index] = true;
  return hashes_[index];
}

std::string SourceHash::whole() {
  base::Xxh3 hash;
  const auto add = [&hash](const std::string& text) { hash.add(std::as_bytes(std::span(text))); };
  for (size_t i = 0; i < source_.specs.size(); ++i) {
    const format::TensorEntry& entry = *source_.entries[i];
    add(fmt::format("{} {} {} {}\n", entry.name, base::name_of(entry.view.dtype),
                    base::shape_text(entry.view.shape), base::hex64(tensor(i, {}))));
  }
  add(source_.checkpoint.text("config.json"));
  return base::hex64(hash.value());
}

}  // namespace upg::compression
