// A model of any size that needs no file: random codes, the same bytes under many names. For
// benchmarks of backends that copy weights into memory of their own.
#pragma once

#include <memory>
#include <string>

#include "model/source.h"
#include "tools/random_model.h"

namespace upg::bench {

struct SyntheticShape : tools::ModelShape {
  // "path3", ...: of layer matrices; "10x": path3 but for every ninth matrix, path4, which is what
  // 3.12 bits allow; "sparse".
  std::string codec = "10x";
};

std::shared_ptr<const model::ModelSource> make_synthetic_source(const SyntheticShape& shape);

}  // namespace upg::bench
