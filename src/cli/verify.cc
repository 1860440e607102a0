// upg verify: whether a file is whole and sound, and what it lost against its source.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/cli.h"
#include "upg/error.h"

namespace upg::cli {
namespace {

using nlohmann::ordered_json;

struct VerifyFlags {
  std::string file;
  std::string source;
};

constexpr const char* kFooter = R"(Exit status 3 when something is wrong.

Examples:
  upg verify phi-4.upg
  upg verify phi-4.upg --source phi-4)";

void print_json(const VerifyReport& report, bool with_source) {
  ordered_json json;
  json["ok"] = report.ok;
  json["errors"] = report.errors;
  if (with_source) {
    json["relative_error"] = report.relative_error;
    json["tensors"] = ordered_json::array();
    for (const VerifyReport::TensorError& tensor : report.tensors) {
      json["tensors"].push_back({{"name", tensor.name}, {"relative_error", tensor.relative_error}});
    }
  }
  print_text(json.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

void print(const VerifyReport& report, bool with_source) {
  for (const std::string& error : report.errors) print_text(error + "\n");
  for (const VerifyReport::TensorError& tensor : report.tensors) {
    print_text(fmt::format("{:.6f}  {}\n", tensor.relative_error, base::printable(tensor.name)));
  }
  if (!report.ok) return;
  print_text("ok: checksums and structure\n");
  if (with_source) {
    print_text(fmt::format("relative error of all matrices {:.6f}\n", report.relative_error));
  }
}

void run(const VerifyFlags& flags, const Common& common) {
  VerifyReport report;
  {
    ProgressLine line("verify");
    report = verify(flags.file, flags.source, common.threads,
                    [&line](const Progress& progress) { return line(progress); });
  }
  const bool with_source = !flags.source.empty();
  common.json ? print_json(report, with_source) : print(report, with_source);
  if (!report.ok) {
    throw Error(
        ErrorCode::kInvalidData,
        fmt::format(
            "{}: {} found, first: {}", base::printable(flags.file),
            report.errors.size() == 1 ? "an error" : fmt::format("{} errors", report.errors.size()),
            report.errors.front()));
  }
}

}  // namespace

void add_verify(CLI::App& app, Common& common) {
  const auto flags = std::make_shared<VerifyFlags>();
  CLI::App* verb = add_verb(app, "verify", "Check a UPG file", common,
                            [flags, &common] { run(*flags, common); });
  verb->add_option("FILE", flags->file, "A UPG file, version 2 or 3")->required();
  verb->add_option("--source", flags->source,
                   "The checkpoint it was made from: adds the relative error of every tensor");
  verb->footer(kFooter);
}

}  // namespace upg::cli
