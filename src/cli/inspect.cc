// upg inspect: what a file holds, from its header.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/tensor_table.h"

namespace upg::cli {
namespace {

using nlohmann::ordered_json;

constexpr const char* kFooter = R"(Examples:
  upg inspect phi-4.upg
  upg inspect phi-4.upg --json)";

// A JSON text of the file as a value, or null where it is none.
ordered_json embedded(const std::string& text) {
  if (text.empty() || text.size() > (size_t{16} << 20)) return nullptr;
  int depth = 0;  // the parser recurses: nothing deep is given to it
  int deepest = 0;
  for (const char c : text) {
    if (c == '[' || c == '{') deepest = std::max(deepest, ++depth);
    if (c == ']' || c == '}') --depth;
  }
  if (deepest > 64) return nullptr;
  ordered_json value = ordered_json::parse(text, nullptr, false);
  return value.is_discarded() ? ordered_json(nullptr) : value;
}

ordered_json to_json(const InspectReport& report) {
  ordered_json json;
  json["file"] = report.file;
  json["version"] = report.version;
  json["profile"] = report.profile;
  json["architecture"] = report.architecture;
  json["parameters"] = report.parameters;
  json["file_bytes"] = report.file_bytes;
  json["bits_per_weight"] = report.bits_per_weight;
  json["layer_bits_at_5120"] = report.layer_bits_at_5120;
  json["ratio_f32"] = report.ratio_f32;
  json["compression"] = embedded(report.compression);
  json["quality"] = embedded(report.quality);
  json["tensors"] = ordered_json::array();
  for (const TensorReport& tensor : report.tensors) {
    json["tensors"].push_back({{"name", tensor.name},
                               {"codec", tensor.codec},
                               {"rows", tensor.rows},
                               {"cols", tensor.cols},
                               {"bits_per_weight", tensor.bits_per_weight},
                               {"bytes", tensor.bytes},
                               {"relative_error", tensor.relative_error},
                               {"loss", tensor.loss}});
  }
  return json;
}

std::string scalar_text(const ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// One line a JSON object: "name value, name value"; objects within it follow on their own. What is
// said of single matrices is in the table.
void print_members(const std::string& name, const ordered_json& object) {
  std::string line;
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) continue;
    line += fmt::format("{}{} {}", line.empty() ? "" : ", ", base::printable(key),
                        base::printable(scalar_text(value)));
  }
  if (!line.empty()) print_text(fmt::format("{:<14} {}\n", name, line));
  for (const auto& [key, value] : object.items()) {
    if (value.is_object() && key != "matrices") print_members(base::printable(key), value);
  }
}

void print(const InspectReport& report) {
  const auto line = [](std::string_view name, const std::string& value) {
    if (!value.empty()) print_text(fmt::format("{:<14} {}\n", name, base::printable(value)));
  };
  line("file", report.file);
  line("version", report.version);
  line("profile", report.profile);
  line("architecture", report.architecture);
  line("parameters", fmt::format("{}", report.parameters));
  line("size",
       fmt::format("{} ({} bytes)", base::format_bytes(report.file_bytes), report.file_bytes));
  line("bits a weight", fmt::format("{:.3f}; layers at 5,120 columns {:.3f}",
                                    report.bits_per_weight, report.layer_bits_at_5120));
  line("ratio", fmt::format("{:.2f}:1 against float32", report.ratio_f32));
  print_members("compression", embedded(report.compression));
  print_members("quality", embedded(report.quality));
  std::vector<TensorLine> lines;
  for (const TensorReport& tensor : report.tensors) {
    lines.push_back({tensor.name, tensor.codec, tensor.rows, tensor.cols, tensor.bytes, false,
                     tensor.relative_error, tensor.loss});
  }
  print_text("\n" + tensor_table(lines));
}

void run(const std::string& file, const Common& common) {
  const InspectReport report = inspect(file);
  if (common.json) {
    print_text(to_json(report).dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  } else {
    print(report);
  }
}

}  // namespace

void add_inspect(CLI::App& app, Common& common) {
  const auto file = std::make_shared<std::string>();
  CLI::App* verb = add_verb(app, "inspect", "Show what a UPG file or a checkpoint holds", common,
                            [file, &common] { run(*file, common); });
  verb->add_option("FILE", *file, "A UPG file, or a checkpoint folder")->required();
  verb->footer(kFooter);
}

}  // namespace upg::cli
