#include "compress/bit_choice.h"

#include <fmt/format.h>

#include <cmath>
#include <string>
#include <system_error>

#include "base/check.h"
#include "base/text.h"
#include "compress/codec_choice.h"
#include "compress/plan_file.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

uint64_t target_bytes(const Plan& plan, const CompressOptions& options) {
  const auto parameters = static_cast<double>(plan.summary.parameters);
  return static_cast<uint64_t>(options.ratio > 0 ? 4 * parameters / options.ratio
                                                 : parameters * options.bits / 8);
}

bool for_the_file(const CompressOptions& options) { return options.ratio > 0 || options.bits > 0; }

std::string target_text(const CompressOptions& options) {
  if (options.ratio > 0) return fmt::format("--ratio {}", options.ratio);
  if (options.bits > 0) return fmt::format("--bits {}", options.bits);
  return fmt::format("layers at most {} bits", kLayerBits);
}

[[noreturn]] void refuse_target(const Plan& plan, const CompressOptions& options, double least) {
  const double bits = 8 * least / static_cast<double>(plan.summary.parameters);
  throw Error(ErrorCode::kUsage,
              fmt::format("{} cannot be met: embedding, head, scales, tokenizer and header "
                          "included, the nearest is --ratio {:.2f} (--bits {:.3f})",
                          target_text(options), std::floor(3200 / bits) / 100,
                          std::ceil(bits * 1000) / 1000));
}

void spend(CodecChoice& choice, const Plan& plan, const CompressOptions& options) {
  if (!for_the_file(options)) {
    UPG_CHECK(choice.spend_on_layers(kLayerBits));  // path2 is always below
  } else if (!choice.spend_on_file(target_bytes(plan, options))) {
    refuse_target(plan, options, choice.least_file_bytes());
  }
}

CodecChoice::Scope scope_of(const CompressOptions& options) {
  return for_the_file(options) ? CodecChoice::Scope::kFile : CodecChoice::Scope::kLayers;
}

void apply_plan_file(Plan& plan, const CompressOptions& options) {
  const std::vector<PlannedCodec> planned = read_plan(options.plan_file, plan.source);
  plan.kl.assign(plan.storage.size(), 0);
  for (size_t i = 0; i < plan.storage.size(); ++i) {
    const model::TensorSpec& spec = plan.source.specs[i];
    if (!is_open(plan, i, options)) continue;
    set_codec(plan.storage[i], planned[i].codec, spec, plan.source.entries[i]->view.dtype);
    plan.chosen.push_back(i);
    plan.kl[i] = planned[i].kl;
  }
  summarise(plan, options);
  if (!for_the_file(options) || plan.summary.output_bytes <= target_bytes(plan, options)) return;
  throw Error(ErrorCode::kUsage,
              fmt::format("{}: its plan comes to {:.3f}:1, {} asks for less; leave one of them out",
                          base::printable(options.plan_file.native()), plan.summary.ratio_f32,
                          target_text(options)));
}

}  // namespace

bool chooses_codecs(const Plan& plan, const CompressOptions& options) {
  const auto refuse = [](const std::string& what) { throw Error(ErrorCode::kUsage, what); };
  if (options.ratio > 0 && options.bits > 0) refuse("--ratio and --bits: allowed is one of them");
  for (const double value : {options.ratio, options.bits}) {
    if (!(value >= 0 && value <= 32)) {
      refuse(fmt::format("{}: found {}, allowed is more than 0 and at most 32",
                         options.ratio != 0 ? "--ratio" : "--bits", value));
    }
  }
  const bool asked = for_the_file(options) || !options.plan_file.empty();
  if (asked && !plan.profile.spends_bits) {
    refuse(fmt::format("--ratio, --bits and --plan: found profile {}, allowed is 10x",
                       plan.profile.name));
  }
  return asked || (plan.profile.spends_bits && options.calibrate != kNoCalibration);
}

void choose_codecs(Plan& plan, const CompressOptions& options, const std::filesystem::path& folder,
                   const ProgressCallback& progress) {
  std::error_code ignored;
  if (!options.plan_file.empty() && std::filesystem::exists(options.plan_file, ignored)) {
    return apply_plan_file(plan, options);
  }
  CodecChoice choice(plan, options, scope_of(options));
  if (!choice.nothing_open()) {
    choice.measure(folder, progress);
    spend(choice, plan, options);
  }
  if (!options.plan_file.empty()) write_plan(options.plan_file, plan, target_text(options));
}

void guess_codecs(Plan& plan, const CompressOptions& options) {
  CodecChoice choice(plan, options, scope_of(options));
  if (choice.nothing_open()) return;
  choice.guess();
  spend(choice, plan, options);
}

}  // namespace upg::compression
