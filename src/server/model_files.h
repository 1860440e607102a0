// Models on disk, for the server: which there are, how one is loaded.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "server/model_host.h"

namespace upg::server {

// "phi-4" of ".../phi-4.upg" and of ".../phi-4/". Never a path.
std::string model_id(const std::filesystem::path& path);

// Every UPG file and checkpoint folder right in `folder`, by id. Throws Error: kUsage when the
// folder is none, or has no model, or two of one id.
std::vector<std::pair<std::string, std::filesystem::path>> find_models(
    const std::filesystem::path& folder);

// Loads with these options, and reads what the file says of its tensors.
ModelLoader engine_loader(const LoadOptions& options);

}  // namespace upg::server
