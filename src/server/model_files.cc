#include "server/model_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "base/text.h"
#include "upg/compress.h"

namespace upg::server {
namespace {

namespace fs = std::filesystem;

bool is_model(const fs::directory_entry& entry) {
  std::error_code ignored;
  if (entry.is_directory(ignored)) return fs::exists(entry.path() / "config.json", ignored);
  return entry.is_regular_file(ignored) && entry.path().extension() == ".upg";
}

// What the model page shows. A checkpoint folder is not inspected: it has nothing to tell.
std::string tensors_json(const fs::path& path) {
  std::string json = R"(,"tensors":[)";
  if (fs::is_regular_file(path)) {
    bool first = true;
    for (const TensorReport& tensor : inspect(path).tensors) {
      json += fmt::format(
          R"({}{{"name":{},"codec":{},"rows":{},"cols":{},"bits_per_weight":{:.4f},"bytes":{}}})",
          first ? "" : ",", base::json_quote(tensor.name), base::json_quote(tensor.codec),
          tensor.rows, tensor.cols, tensor.bits_per_weight, tensor.bytes);
      first = false;
    }
  }
  return json + "]";
}

}  // namespace

std::string model_id(const fs::path& path) {
  fs::path named = fs::absolute(path).lexically_normal();
  if (!named.has_filename()) named = named.parent_path();
  const std::string name =
      named.extension() == ".upg" ? named.stem().string() : named.filename().string();
  return name.empty() ? "model" : base::printable(name);
}

std::vector<std::pair<std::string, fs::path>> find_models(const fs::path& folder) {
  std::error_code error;
  std::vector<std::pair<std::string, fs::path>> models;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (is_model(entry)) models.emplace_back(model_id(entry.path()), entry.path());
  }
  const std::string name = base::printable(folder.native());
  if (error) {
    throw Error(ErrorCode::kUsage, fmt::format("--models-dir {}: {}", name, error.message()));
  }
  if (models.empty()) {
    throw Error(
        ErrorCode::kUsage,
        fmt::format("--models-dir {}: found no *.upg and no folder with a config.json", name));
  }
  std::sort(models.begin(), models.end());
  for (size_t i = 1; i < models.size(); ++i) {
    if (models[i].first != models[i - 1].first) continue;
    throw Error(ErrorCode::kUsage,
                fmt::format("--models-dir {}: found two models called {}", name, models[i].first));
  }
  return models;
}

ModelLoader engine_loader(const LoadOptions& options) {
  return [options](const fs::path& path) {
    return LoadedModel{make_engine_model(Engine::load(path, options)), tensors_json(path)};
  };
}

}  // namespace upg::server
