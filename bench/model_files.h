// The files behind a model, and whether they lie in the page cache.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace upg::bench {

std::vector<std::filesystem::path> files_of(const std::filesystem::path& model);
uint64_t bytes_of(const std::filesystem::path& model);
// "books-12m.upg"
std::string label_of(const std::filesystem::path& model);

// Drops the files from the page cache; returns the share that is still there, because somebody maps
// it or the system refused.
double drop_cached(const std::filesystem::path& model);
// Reads every byte once; seconds.
double read_files(const std::filesystem::path& model);

}  // namespace upg::bench
