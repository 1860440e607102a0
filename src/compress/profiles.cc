#include "compress/profiles.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/text.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

using base::DType;
using model::Role;

// An untied head is rotated: on books-74m its relative error is 0.0803, unrotated 0.0826; on
// books-12m, whose head is close to Gaussian as it is, 0.0803 and 0.0796.
constexpr std::array kProfiles = {
    Profile{.name = "10x",
            .layers = "path3",
            .embedding = "path4",
            .head = "path4",
            .rotate_layers = true,
            .rotate_head = true,
            .keeps_zeros = true,
            .spends_bits = true},
    Profile{.name = "sparse",
            .layers = "sparse",
            .embedding = "path4",
            .head = "path4",
            .rotate_head = true,
            .has_sparsity = true,
            .keeps_zeros = true},
    Profile{.name = "mdcsr",
            .layers = "mdcsr",
            .embedding = "mdcsr",
            .head = "mdcsr",
            .version = "2.0",
            .overrides = false,
            .has_sparsity = true},
    Profile{.name = "8bit", .layers = "int8", .embedding = "int8", .head = "int8"},
    Profile{.name = "raw", .layers = "raw", .embedding = "raw", .head = "raw"},
};

// Element types that an override may name: raw in that type.
struct RawType {
  std::string_view name;
  DType dtype;
};
constexpr std::array kRawTypes = {RawType{"bf16", DType::kBF16}, RawType{"f16", DType::kF16},
                                  RawType{"f32", DType::kF32}};

struct Choice {
  const codec::Codec* codec;
  std::optional<DType> raw_dtype;  // nothing: the source's
};

Choice parse_codec(std::string_view name) {
  for (const RawType& type : kRawTypes) {
    if (type.name == name) return {codec::find_codec("raw"), type.dtype};
  }
  const codec::Codec* codec = codec::find_codec(name);
  if (codec == nullptr) {
    throw Error(ErrorCode::kUsage, fmt::format("codec \"{}\" is unknown, allowed are {}",
                                               base::printable(name), codec_choices()));
  }
  return {codec, std::nullopt};
}

void assign(Storage& storage, const Choice& choice, const model::TensorSpec& spec, DType source,
            bool rotate) {
  storage.codec = choice.codec;
  storage.options.raw_dtype = choice.raw_dtype.value_or(source);
  storage.rotated = rotate && choice.codec->rotates && spec.role != Role::kEmbedding;
}

// What the profile says of a matrix.
std::string_view codec_of(const Profile& profile, Role role) {
  if (role == Role::kEmbedding) return profile.embedding;
  return role == Role::kHead ? profile.head : profile.layers;
}

bool matches(std::string_view pattern, std::string_view name) {
  constexpr std::string_view kSuffix = ".weight";
  if (base::matches_glob(pattern, name)) return true;
  return name.ends_with(kSuffix) &&
         base::matches_glob(pattern, name.substr(0, name.size() - kSuffix.size()));
}

[[noreturn]] void throw_no_match(std::string_view pattern,
                                 const std::vector<model::TensorSpec>& specs) {
  std::string some;
  int listed = 0;
  for (const model::TensorSpec& spec : specs) {
    if (spec.role == Role::kVector || listed == 6) continue;
    some += fmt::format("{}{}", listed == 0 ? "" : ", ", base::printable(spec.name));
    ++listed;
  }
  throw Error(ErrorCode::kUsage,
              fmt::format("pattern \"{}\" matches no matrix of this checkpoint, which has {}, ...",
                          base::printable(pattern), some));
}

void check_options(const Profile& profile, const CompressOptions& options) {
  if (!(options.sparsity >= 0 && options.sparsity < 1)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("sparsity: found {}, allowed 0 <= sparsity < 1", options.sparsity));
  }
  if (!profile.overrides && !options.tensor_codecs.empty()) {
    throw Error(ErrorCode::kUsage,
                fmt::format("profile {} stores every matrix as {}: --tensor is not allowed",
                            profile.name, profile.layers));
  }
}

void apply_override(std::string_view pattern, const Choice& choice,
                    const std::vector<model::TensorSpec>& specs, std::span<const DType> dtypes,
                    std::vector<Storage>& storage) {
  bool any = false;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].role == Role::kVector || !matches(pattern, specs[i].name)) continue;
    assign(storage[i], choice, specs[i], dtypes[i], true);
    any = true;
  }
  if (!any) throw_no_match(pattern, specs);
}

}  // namespace

std::span<const Profile> all_profiles() { return kProfiles; }

const Profile& find_profile(std::string_view name) {
  for (const Profile& profile : kProfiles) {
    if (profile.name == name) return profile;
  }
  throw Error(ErrorCode::kUsage, fmt::format("profile \"{}\" is unknown, allowed are {}",
                                             base::printable(name), profile_names()));
}

std::string profile_names() {
  std::string names;
  for (const Profile& profile : kProfiles) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", profile.name);
  }
  return names;
}

std::string codec_choices() {
  std::string names = codec::codec_names();
  for (const RawType& type : kRawTypes) names += fmt::format(", {}", type.name);
  return names;
}

std::string codec_name_of(base::DType dtype) {
  for (const RawType& type : kRawTypes) {
    if (type.dtype == dtype) return std::string(type.name);
  }
  return std::string(base::name_of(dtype));
}

std::vector<Storage> choose_storage(const std::vector<model::TensorSpec>& specs,
                                    std::span<const base::DType> dtypes,
                                    const CompressOptions& options) {
  const Profile& profile = find_profile(options.profile);
  check_options(profile, options);
  std::vector<Storage> storage(specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].role == Role::kVector) continue;
    storage[i].options.sparsity = options.sparsity;
    const bool rotate = specs[i].role == Role::kHead ? profile.rotate_head : profile.rotate_layers;
    assign(storage[i], parse_codec(codec_of(profile, specs[i].role)), specs[i], dtypes[i], rotate);
  }
  for (const auto& [pattern, name] : options.tensor_codecs) {
    apply_override(pattern, parse_codec(name), specs, dtypes, storage);
  }
  return storage;
}

bool is_overridden(const model::TensorSpec& spec, const CompressOptions& options) {
  return std::any_of(options.tensor_codecs.begin(), options.tensor_codecs.end(),
                     [&](const auto& override) { return matches(override.first, spec.name); });
}

void set_codec(Storage& storage, std::string_view codec, const model::TensorSpec& spec,
               DType source) {
  assign(storage, parse_codec(codec), spec, source, true);
}

std::string activation_of(const model::TensorSpec& spec) {
  if (!spec.activation.empty()) return spec.activation;
  constexpr std::string_view kSuffix = ".weight";
  std::string name = spec.name;
  if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
  return name + ".input";
}

std::string signs_name(const model::TensorSpec& spec) { return activation_of(spec) + ".signs"; }

uint64_t bytes_of(std::span<const codec::PartSpec> parts) {
  uint64_t bytes = 0;
  for (const codec::PartSpec& part : parts) {
    uint64_t size = base::size_of(part.dtype);
    for (const int64_t dimension : part.shape) size *= static_cast<uint64_t>(dimension);
    bytes += size;
  }
  return bytes;
}

double bits_at_5120(const Storage& storage, int64_t rows, int64_t cols, uint64_t stored_bytes) {
  constexpr int64_t kWidth = 5120;
  const auto bits = [rows](uint64_t bytes, int64_t columns) {
    return 8.0 * static_cast<double>(bytes) /
           (static_cast<double>(rows) * static_cast<double>(columns));
  };
  // For a codec whose size follows from the shape this is its size at the width; one that depends
  // on the data keeps its own deviation.
  Storage shape = storage;
  shape.options.stored_weights.reset();
  return bits(stored_bytes, cols) - bits(bytes_of(shape.parts(rows, cols)), cols) +
         bits(bytes_of(shape.parts(rows, kWidth)), kWidth);
}

}  // namespace upg::compression
