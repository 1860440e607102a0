// One finished matrix as a file of the journal (journal.h).
#pragma once

#include <filesystem>
#include <string_view>

#include "compress/encode.h"

namespace upg::compression {

// Atomic and synced. job: hash of what the job is. Throws Error(kIo).
void write_journal_entry(const std::filesystem::path& file, std::string_view job,
                         std::string_view tensor, const EncodedMatrix& matrix);

// Throws Error(kInvalidData) when it is not, to the bit, what was written for that job and tensor.
EncodedMatrix read_journal_entry(const std::filesystem::path& file, std::string_view job,
                                 std::string_view tensor);

}  // namespace upg::compression
