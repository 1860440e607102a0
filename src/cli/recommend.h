// The table of upg compress --recommend.
#pragma once

#include <string>

#include "cli/cli.h"
#include "upg/compress.h"

namespace upg::cli {

// Measures the checkpoint and this machine's memory bandwidth, and prints what each way to compress
// it comes to here.
void print_recommendations(const std::string& checkpoint, const CompressOptions& options,
                           const Common& common);

}  // namespace upg::cli
