// Which checkpoint a compression has read: checksums of its tensors and texts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "compress/source_model.h"

namespace upg::compression {

class SourceHash {
 public:
  explicit SourceHash(const SourceModel& source);

  // XXH3-64 of the tensor's bytes, read once however often it is asked for, in pieces that leave
  // memory again. `tick` is called between pieces and may throw to stop.
  uint64_t tensor(size_t index, const std::function<void()>& tick);

  // Of all tensors (each `NAME DTYPE SHAPE HASH` and a newline, hashes as 16 hexadecimal digits, in
  // checkpoint order) and config.json's text behind them: XXH3-64, as 16 hexadecimal digits. Reads
  // what has not been read.
  std::string whole();

 private:
  const SourceModel& source_;
  std::vector<uint64_t> hashes_;
  std::vector<bool> known_;
};

}  // namespace upg::compression
