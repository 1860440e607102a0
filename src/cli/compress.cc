// upg compress: a checkpoint becomes a UPG file, or the plan of one.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/machine.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/recommend.h"
#include "cli/tensor_table.h"
#include "upg/error.h"

namespace upg::cli {
namespace {

using nlohmann::ordered_json;

struct CompressFlags {
  std::string checkpoint;
  std::string output;
  CompressOptions options;
  std::vector<std::string> tensors;
  std::string max_ram;
  bool dry_run = false;
  bool recommend = false;
};

constexpr int kLeastWindows = 4;

constexpr const char* kFooter = R"(Profiles:
  10x     layers path3 (3 bits, rotated), embedding and head path4: a tenth of float32
  sparse  layers with a share of zeros (--sparsity) and 4-bit values, embedding and head path4
  mdcsr   every matrix in compressed sparse rows: format version 2, readable elsewhere
  8bit    every matrix int8        raw   every matrix as it is

Examples:
  upg compress phi-4 -o phi-4.upg
  upg compress phi-4 --recommend
  upg compress phi-4 --dry-run
  upg compress phi-4 -o phi-4.upg --ratio 9 --plan phi-4.plan.json
  upg compress phi-4 -o phi-4.upg --tensor 'lm_head=raw' --tensor '*.down_proj=path4'
  upg compress pruned-model -o pruned.upg --profile sparse --sparsity 0.5)";

std::pair<std::string, std::string> parse_override(const std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    throw Error(ErrorCode::kUsage,
                fmt::format("--tensor: found \"{}\", allowed is PATTERN=CODEC, for instance "
                            "lm_head=raw",
                            base::printable(text)));
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

ordered_json plan_json(const CompressPlan& plan) {
  ordered_json json;
  json["parameters"] = plan.parameters;
  json["output_bytes"] = plan.output_bytes;
  json["ratio_f32"] = plan.ratio_f32;
  json["bits_per_weight"] = plan.bits_per_weight;
  json["layer_bits"] = plan.layer_bits;
  json["layer_bits_at_5120"] = plan.layer_bits_at_5120;
  json["expected_kl"] = plan.expected_kl;
  json["peak_ram_bytes"] = plan.peak_ram_bytes;
  json["disk_bytes"] = plan.disk_bytes;
  json["already_sparse_matrices"] =
      std::count_if(plan.tensors.begin(), plan.tensors.end(),
                    [](const PlannedTensor& tensor) { return tensor.keeps_zeros; });
  return json;
}

ordered_json tensors_json(const CompressPlan& plan) {
  ordered_json list = ordered_json::array();
  for (const PlannedTensor& tensor : plan.tensors) {
    list.push_back({{"name", tensor.name},
                    {"codec", tensor.codec},
                    {"rows", tensor.rows},
                    {"cols", tensor.cols},
                    {"bytes", tensor.bytes},
                    {"rotated", tensor.rotated},
                    {"kl", tensor.kl}});
  }
  return list;
}

std::string plan_table(const CompressPlan& plan) {
  std::vector<TensorLine> lines;
  for (const PlannedTensor& tensor : plan.tensors) {
    lines.push_back(
        {tensor.name, tensor.codec, tensor.rows, tensor.cols, tensor.bytes, tensor.rotated});
  }
  return tensor_table(lines);
}

std::string count_text(uint64_t count) {
  const auto value = static_cast<double>(count);
  return count < 1'000'000'000 ? fmt::format("{:.2f} million", value / 1e6)
                               : fmt::format("{:.2f} billion", value / 1e9);
}

std::string size_line(uint64_t bytes, double ratio, double bits, const CompressPlan& plan) {
  return fmt::format(
      "{} for {} weights: {:.2f}:1 against float32, {:.3f} bits a weight; layers {:.3f} bits, at "
      "Phi-4's width {:.3f}\n",
      base::format_bytes(bytes), count_text(plan.parameters), ratio, bits, plan.layer_bits,
      plan.layer_bits_at_5120);
}

// How many matrices got which codec and what that is expected to cost; empty where nothing was
// chosen.
std::string choice_line(const CompressPlan& plan) {
  std::map<std::string, int> counts;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.chosen) counts[tensor.codec] += 1;
  }
  std::string codecs;
  for (const auto& [codec, count] : counts) {
    codecs += fmt::format("{}{} {}", codecs.empty() ? "" : ", ", count, codec);
  }
  if (codecs.empty()) return {};
  const std::string loss =
      plan.expected_kl > 0
          ? fmt::format("; expected KL of these {:.4f} without feedback", plan.expected_kl)
          : "";
  return fmt::format("codecs chosen: {}{}\n", codecs, loss);
}

// Why a model whose layers take 3 bits ends up below ten to one; empty when it does not.
std::string why_below_ten(uint64_t file_bytes, double ratio, const CompressPlan& plan) {
  if (ratio >= 10 || plan.layer_bits_at_5120 > 3.2) return {};
  double bytes = 0;
  for (const PlannedTensor& tensor : plan.tensors) bytes += static_cast<double>(tensor.bytes);
  const auto layers = static_cast<double>(plan.layer_parameters);
  const double others = static_cast<double>(plan.parameters) - layers;
  const double file = static_cast<double>(file_bytes);
  return fmt::format(
      "Below 10:1 because of short rows (layers {:.3f} bits, {:.3f} at Phi-4's width), embedding "
      "and head ({:.0f} % of the weights at {:.1f} bits), tokenizer and header ({:.0f} % of the "
      "file).\n",
      plan.layer_bits, plan.layer_bits_at_5120, 100 * others / static_cast<double>(plan.parameters),
      others > 0 ? (8 * bytes - plan.layer_bits * layers) / others : 0,
      100 * (file - bytes) / file);
}

// The matrices that were sparse before; empty when none was.
std::string kept_zeros(const CompressPlan& plan) {
  std::map<std::string, int> codecs;
  int matrices = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (!tensor.keeps_zeros) continue;
    ++matrices;
    ++codecs[tensor.codec];
  }
  std::string got;
  for (const auto& [codec, count] : codecs) {
    got += fmt::format("{}{} {}", got.empty() ? "" : ", ", count, codec);
  }
  return matrices == 0 ? std::string()
                       : fmt::format("{} matrices are sparse already and keep their zeros: {}\n",
                                     matrices, got);
}

void dry_run(const CompressFlags& flags, const Common& common) {
  CompressPlan plan;
  {
    ProgressLine line("plan");
    plan = plan_compression(flags.checkpoint, flags.options,
                            [&line](const Progress& progress) { return line(progress); });
  }
  if (common.json) {
    ordered_json json = plan_json(plan);
    json["seconds_estimate"] = plan.seconds_estimate;
    json["tensors"] = tensors_json(plan);
    print_text(json.dump() + "\n");
    return;
  }
  print_text(plan_table(plan));
  print_text(choice_line(plan));
  print_text(size_line(plan.output_bytes, plan.ratio_f32, plan.bits_per_weight, plan));
  print_text(kept_zeros(plan));
  print_text(why_below_ten(plan.output_bytes, plan.ratio_f32, plan));
  print_text(fmt::format(
      "needs {} of memory, {} of disk and about {}\n", base::format_bytes(plan.peak_ram_bytes),
      base::format_bytes(plan.disk_bytes), base::format_duration(plan.seconds_estimate)));
}

ordered_json times_json(const CompressTimes& times) {
  return {{"forward", times.forward},
          {"moments", times.moments},
          {"factor", times.factor},
          {"coding", times.coding},
          {"writing", times.writing}};
}

std::string times_line(const CompressResult& result) {
  const CompressTimes& times = result.times;
  const double others =
      result.seconds - times.forward - times.moments - times.factor - times.coding - times.writing;
  std::string line = fmt::format(
      "text through the layers {}, moments {}, factors {}, coding {}, writing {}, others {}",
      base::format_duration(times.forward), base::format_duration(times.moments),
      base::format_duration(times.factor), base::format_duration(times.coding),
      base::format_duration(times.writing), base::format_duration(std::max(others, 0.0)));
  if (result.resumed_matrices > 0) {
    line += fmt::format("; {} matrices taken from the journal", result.resumed_matrices);
  }
  return line + "\n";
}

void print_result(const CompressFlags& flags, const CompressResult& result, bool as_json) {
  const double rate =
      result.seconds > 0 ? static_cast<double>(result.plan.parameters) / result.seconds : 0;
  if (as_json) {
    ordered_json json = plan_json(result.plan);
    json["file"] = flags.output;
    json["profile"] = flags.options.profile;
    json["file_bytes"] = result.file_bytes;
    json["ratio_f32"] = result.ratio_f32;
    json["bits_per_weight"] = result.bits_per_weight;
    json["relative_error"] = result.relative_error;
    json["seconds"] = result.seconds;
    json["seconds_by_part"] = times_json(result.times);
    json["resumed_matrices"] = result.resumed_matrices;
    json["weights_per_second"] = rate;
    json["peak_rss_bytes"] = base::peak_resident_bytes();
    print_text(json.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
    return;
  }
  print_text(choice_line(result.plan));
  print_text(fmt::format(
      "{}: {}", base::printable(flags.output),
      size_line(result.file_bytes, result.ratio_f32, result.bits_per_weight, result.plan)));
  print_text(
      fmt::format("relative error {:.4f}, {}, {:.1f} million weights a second, {} of memory\n",
                  result.relative_error, base::format_duration(result.seconds), rate / 1e6,
                  base::format_bytes(base::peak_resident_bytes())));
  if (result.times.forward > 0) print_text(times_line(result));
  print_text(kept_zeros(result.plan));
  print_text(why_below_ten(result.file_bytes, result.ratio_f32, result.plan));
}

void run(CompressFlags& flags, const Common& common) {
  flags.options.threads = common.threads;
  if (!flags.max_ram.empty()) flags.options.max_ram = parse_bytes(flags.max_ram, "--max-ram");
  for (const std::string& text : flags.tensors) {
    flags.options.tensor_codecs.push_back(parse_override(text));
  }
  if (flags.recommend) {
    print_recommendations(flags.checkpoint, flags.options, common);
    return;
  }
  if (flags.dry_run) {
    dry_run(flags, common);
    return;
  }
  if (flags.output.empty()) {
    throw Error(ErrorCode::kUsage, "compress: -o FILE is missing (or --dry-run, --recommend)");
  }
  flags.options.note = [](std::string_view line) { print_note(line); };
  CompressResult result;
  {
    ProgressLine line("compress");
    result = compress(flags.checkpoint, flags.output, flags.options,
                      [&line](const Progress& progress) { return line(progress); });
  }
  print_result(flags, result, common.json);
}

}  // namespace

void add_compress(CLI::App& app, Common& common) {
  const auto flags = std::make_shared<CompressFlags>();
  CLI::App* verb = add_verb(app, "compress", "Make a UPG file from a checkpoint", common,
                            [flags, &common] { run(*flags, common); });
  verb->add_option("CHECKPOINT", flags->checkpoint,
                   "A Hugging Face folder: config.json, tokenizer.json, safetensors")
      ->required();
  verb->add_option("-o,--output", flags->output, "The file to write, usually NAME.upg");
  verb->add_option("--profile", flags->options.profile, "10x, sparse, mdcsr, 8bit, raw")
      ->capture_default_str();
  verb->add_option("--sparsity", flags->options.sparsity,
                   "Share of zeros, 0 <= S < 1, where the codec is sparse or mdcsr")
      ->capture_default_str();
  verb->add_option("--tensor", flags->tensors,
                   "PATTERN=CODEC: another codec for the matrices whose name matches (* and ?); "
                   "repeatable, the last match wins; path2 path3 path4 int8 sparse mdcsr raw bf16 "
                   "f16 f32")
      ->allow_extra_args(false);
  verb->add_option("--calibrate", flags->options.calibrate,
                   "Fit path matrices to what this text makes of their inputs: FILE, default (the "
                   "text that comes with upg), or none")
      ->capture_default_str();
  verb->add_option("--calibration-windows", flags->options.calibration_windows,
                   "Windows of at most 1,024 tokens taken from that text, evenly spread")
      ->check(CLI::Range(kLeastWindows, 1 << 20))
      ->capture_default_str();
  verb->add_option("--ratio", flags->options.ratio,
                   "The whole file at most 1/R of float32: bits where they save most, for instance "
                   "10");
  verb->add_option("--bits", flags->options.bits,
                   "The same as bits a weight of the whole file, for instance 3.2");
  verb->add_option("--plan", flags->options.plan_file,
                   "A choice of codecs (JSON): used if the file exists, else written");
  verb->add_flag("--recommend", flags->recommend,
                 "Only print what each way to compress it comes to here: size, expected loss, "
                 "whether it fits memory, tokens a second; measures a little");
  verb->add_option(
          "--device", flags->options.device,
          "Where calibration computes: cpu, cuda, cuda:N (the GPU needs cuBLAS and cuSOLVER)")
      ->capture_default_str();
  verb->add_option("--max-ram", flags->max_ram,
                   "Memory it may take (8G, 8GiB, 8000M): activations go to a file beside the "
                   "output when they do not fit");
  verb->add_flag("--dry-run", flags->dry_run,
                 "Only say what it would take: size, memory, disk, time; reads no weights, but for "
                 "--ratio, --bits and a new --plan");
  verb->add_flag("--force", flags->options.force,
                 "Replace the output if it exists; start over where a journal lies");
  verb->add_flag("--resume", flags->options.resume,
                 "Go on with a calibrated compression that was interrupted: the same options, the "
                 "same files; its finished matrices lie in OUTPUT.journal");
  verb->footer(kFooter);
}

}  // namespace upg::cli
