// upg decompress: a UPG file becomes a Hugging Face checkpoint again.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/cli.h"

namespace upg::cli {
namespace {

struct DecompressFlags {
  std::string file;
  std::string folder;
  std::string dtype;
  int64_t cols = 0;
};

constexpr const char* kFooter = R"(Examples:
  upg decompress phi-4.upg -o phi-4-dense
  upg decompress phi-4.upg -o phi-4-f32 --dtype f32)";

uint64_t bytes_in(const std::filesystem::path& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

void run(const DecompressFlags& flags, const Common& common) {
  {
    ProgressLine line("decompress");
    decompress(
        flags.file, flags.folder, flags.dtype, common.threads,
        [&line](const Progress& progress) { return line(progress); }, flags.cols);
  }
  const uint64_t bytes = bytes_in(flags.folder);
  if (common.json) {
    const nlohmann::ordered_json json = {{"folder", flags.folder}, {"bytes", bytes}};
    print_text(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    return;
  }
  print_text(fmt::format("{}: {}\n", base::printable(flags.folder), base::format_bytes(bytes)));
}

}  // namespace

void add_decompress(CLI::App& app, Common& common) {
  const auto flags = std::make_shared<DecompressFlags>();
  CLI::App* verb = add_verb(app, "decompress", "Make a checkpoint from a UPG file", common,
                            [flags, &common] { run(*flags, common); });
  verb->add_option("FILE", flags->file, "A UPG file, version 2 or 3")->required();
  verb->add_option("-o,--output", flags->folder, "The folder to write, new or empty")->required();
  verb->add_option("--dtype", flags->dtype, "bf16, f16, f32; default: what the source had");
  verb->add_option("--cols", flags->cols,
                   "Least number of columns, for version 2 files that do not say it")
      ->check(CLI::Range(int64_t{0}, int64_t{INT32_MAX}));
  verb->footer(kFooter);
}

}  // namespace upg::cli
