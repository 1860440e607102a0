// The options of the programs that make models of any size.
#pragma once

#include <CLI/CLI.hpp>

#include "tools/random_model.h"

namespace upg::tools {

inline void add_shape_options(CLI::App& app, ModelShape& shape) {
  app.add_option("--layers", shape.layers)->capture_default_str();
  app.add_option("--hidden", shape.hidden)->capture_default_str();
  app.add_option("--intermediate", shape.intermediate)->capture_default_str();
  app.add_option("--heads", shape.heads)->capture_default_str();
  app.add_option("--kv-heads", shape.kv_heads)->capture_default_str();
  app.add_option("--vocabulary", shape.vocabulary)->capture_default_str();
  app.add_option("--context", shape.context)->capture_default_str();
}

}  // namespace upg::tools
