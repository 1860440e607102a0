#include "model/source.h"

#include <fmt/format.h>

#include <cmath>
#include <system_error>

#include "base/text.h"
#include "model/source_parts.h"
#include "upg/error.h"

namespace upg::model {

std::unique_ptr<ModelSource> ModelSource::open(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: no such file or folder", base::printable(path.native())));
  }
  return std::filesystem::is_directory(status) ? open_checkpoint(path) : open_upg_file(path);
}

std::vector<int64_t> shape_of(const TensorSpec& spec) {
  if (spec.role == Role::kVector) return {spec.rows};
  return {spec.rows, spec.cols};
}

void check_tensor(const base::TensorView& tensor, std::vector<int64_t> shape, std::string_view name,
                  std::string_view file) {
  const auto fail = [&](std::string_view found, std::string_view allowed, std::string_view code) {
    throw Error(ErrorCode::kInvalidData,
                fmt::format("{}: tensor \"{}\": found {}, allowed is {} ({})", file,
                            base::printable(name), found, allowed, code));
  };
  if (tensor.shape != shape) {
    fail(base::shape_text(tensor.shape), base::shape_text(shape), "MISMATCH");
  }
  const bool known = tensor.dtype == base::DType::kF32 || tensor.dtype == base::DType::kF16 ||
                     tensor.dtype == base::DType::kBF16;
  if (!known) fail(base::name_of(tensor.dtype), "F32, F16 or BF16", "DTYPE");
}

std::vector<float> read_vector(const base::TensorView& tensor, const TensorSpec& spec,
                               std::string_view file) {
  check_tensor(tensor, shape_of(spec), spec.name, file);
  std::vector<float> values(static_cast<size_t>(spec.rows));
  base::to_float(tensor, 0, spec.rows, values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      throw Error(ErrorCode::kInvalidData,
                  fmt::format("{}: tensor \"{}\": element {}: found {}, allowed is a finite number "
                              "(VALUE)",
                              file, base::printable(spec.name), i, values[i]));
    }
  }
  return values;
}

void fail_missing(std::string_view name, std::string_view file) {
  throw Error(ErrorCode::kInvalidData,
              fmt::format("{}: no tensor \"{}\", which its config asks for "
                          "(MISSING)",
                          file, base::printable(name)));
}

}  // namespace upg::model
