// upg::compress: checkpoint in, UPG file out, one tensor at a time in checkpoint order.
#include "upg/compress.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "base/text.h"
#include "base/threads.h"
#include "codec/matrix.h"
#include "codec/rotation.h"
#include "compress/bit_choice.h"
#include "compress/calibration.h"
#include "compress/encode.h"
#include "compress/meter.h"
#include "compress/plan.h"
#include "format/upg_file.h"

namespace upg::compression {
namespace {

using model::TensorSpec;

std::filesystem::path folder_of(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.parent_path();
  return folder.empty() ? std::filesystem::path(".") : folder;
}

// Whether the output is a file that the checkpoint consists of, under whatever name.
bool is_source(const std::filesystem::path& checkpoint, const std::filesystem::path& output) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoint, ignored)) {
    if (std::filesystem::equivalent(entry.path(), output, ignored)) return true;
  }
  return false;
}

void check_output(const std::filesystem::path& checkpoint, const std::filesystem::path& output,
                  bool force) {
  const std::string name = base::printable(output.native());
  std::error_code ignored;
  if (!std::filesystem::exists(std::filesystem::symlink_status(output, ignored))) return;
  if (std::filesystem::is_directory(output, ignored)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: is a folder, allowed is a file to write", name));
  }
  if (is_source(checkpoint, output)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: is a file of the checkpoint, allowed is another output", name));
  }
  if (!force) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: exists; --force replaces it when all is done", name));
  }
}

void check_space(const std::filesystem::path& output, uint64_t needed) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(folder_of(output), error);
  if (error || space.available >= needed) return;  // the writer finds out what cannot be asked
  throw Error(ErrorCode::kIo,
              fmt::format("{}: needs {} of disk space, found {} free (IO)",
                          base::printable(output.native()), base::format_bytes(needed),
                          base::format_bytes(space.available)));
}

// The compression of one checkpoint.
class Job {
 public:
  Job(const Plan& plan, const std::filesystem::path& output, const CompressOptions& options,
      const ProgressCallback& progress)
      : plan_(plan),
        options_(options),
        team_(plan.threads),
        writer_(output, plan.header_estimate, plan.profile.version),
        records_(plan.records()),
        meter_(progress, static_cast<int64_t>(plan.storage.size()), plan.summary.parameters) {
    writer_.reserve(plan.data_bytes);
    if (options.calibrate != kNoCalibration) {
      calibration_.emplace(plan, options, folder_of(output), team_);
    }
  }

  void run() {
    for (size_t i = 0; i < plan_.storage.size(); ++i) {
      meter_.begin(plan_.source.specs[i].name);
      if (plan_.storage[i].is_matrix()) {
        write_matrix(i);
      } else {
        write_vector(i);
      }
    }
    UPG_CHECK(next_record_ == records_.size());
    write_texts();
    writer_.finish(plan_.info(options_, sums_.relative()));
  }

  double relative_error() const noexcept { return sums_.relative(); }
  double seconds() const { return meter_.seconds(); }

 private:
  SourceMatrix source_matrix(size_t index) const {
    const format::TensorEntry& entry = *plan_.source.entries[index];
    const TensorSpec& spec = plan_.source.specs[index];
    return {.where = plan_.source.where(index),
            .view = &entry.view,
            .rows = spec.rows,
            .cols = spec.cols,
            .release = [this, &entry](std::span<const std::byte> range) { release(entry, range); }};
  }

  // Pages of a part of a tensor leave the resident set.
  void release(const format::TensorEntry& entry, std::span<const std::byte> range) const {
    format::TensorEntry part;
    part.name = entry.name;
    part.view.bytes = range;
    plan_.source.checkpoint.release(part);
  }

  // The signs of a matrix's input: written once, kept for those that share it.
  const uint8_t* signs_for(size_t index) {
    if (!plan_.storage[index].rotated) return nullptr;
    const TensorSpec& spec = plan_.source.specs[index];
    const auto [found, fresh] = signs_.try_emplace(activation_of(spec));
    if (fresh) {
      found->second = codec::make_signs(found->first, spec.cols);
      const auto bytes = std::as_bytes(std::span(found->second));
      const std::vector<int64_t> shape = {static_cast<int64_t>(bytes.size())};
      writer_.add_small(signs_name(spec), base::DType::kU8, shape, {bytes.begin(), bytes.end()});
    }
    return found->second.data();
  }

  void write_matrix(size_t index) {
    ::malloc_trim(0);  // what one matrix needed lies in holes between small tensors that are kept
    const SourceMatrix source = source_matrix(index);
    const auto count = static_cast<uint64_t>(source.rows) * static_cast<uint64_t>(source.cols);
    EncodedMatrix encoded = encode(index, source);
    plan_.source.checkpoint.release(*plan_.source.entries[index]);
    const format::MatrixRecord& record = records_[next_record_++];
    const uint64_t bytes = write_parts(record, encoded);
    sums_.add(encoded.sums);
    meter_.end(count, bytes, encoded.sums.relative());
    if (calibration_) {
      calibration_->coded(plan_.source.specs[index], source, plan_.storage[index], signs_for(index),
                          std::move(encoded));
    }
  }

  EncodedMatrix encode(size_t index, const SourceMatrix& source) {
    const TensorSpec& spec = plan_.source.specs[index];
    const Storage& storage = plan_.storage[index];
    const Tick tick = [this](uint64_t elements) { meter_.tick(elements / 2); };
    try {
      if (calibration_ && calibration_->codes(spec, storage)) {
        return calibration_->encode(spec, source, storage, signs_for(index), tick);
      }
      return encode_matrix(source, storage, signs_for(index), team_, tick);
    } catch (const Error& error) {
      // Codecs do not know which tensor they work on.
      const bool named = std::string_view(error.what()).starts_with(source.where);
      if (named || error.code() == ErrorCode::kCancelled) throw;
      throw Error(error.code(), fmt::format("{}: {}", source.where, error.what()));
    }
  }

  uint64_t write_parts(const format::MatrixRecord& record, const EncodedMatrix& encoded) {
    std::vector<const EncodedPart*> parts;
    for (const EncodedPart& part : encoded.parts()) parts.push_back(&part);
    // In version 2 widest elements first keeps everything aligned (format::UpgWriter).
    if (plan_.version2()) {
      std::stable_sort(parts.begin(), parts.end(), [](const EncodedPart* a, const EncodedPart* b) {
        return base::size_of(a->spec.dtype) > base::size_of(b->spec.dtype);
      });
    }
    uint64_t bytes = 0;
    for (const EncodedPart* part : parts) {
      const codec::PartSpec& spec = part->spec;
      const std::string name = part_name(record, spec.suffix, plan_.version2());
      if (is_large(spec, plan_.version2())) {
        writer_.add_codes(name, spec.dtype, spec.shape, part->bytes);
      } else {
        writer_.add_small(name, spec.dtype, spec.shape, {part->bytes.begin(), part->bytes.end()});
      }
      bytes += part->bytes.size();
    }
    return bytes;
  }

  void write_vector(size_t index) {
    const TensorSpec& spec = plan_.source.specs[index];
    const format::TensorEntry& entry = *plan_.source.entries[index];
    std::vector<float> values(static_cast<size_t>(spec.rows));
    base::to_float(entry.view, 0, spec.rows, values.data());
    check_values(values.data(), spec.rows, 0, 1, plan_.source.where(index));
    const auto bytes = std::as_bytes(std::span(values));
    const std::vector<int64_t> shape = {spec.rows};
    writer_.add_small(spec.name, base::DType::kF32, shape, {bytes.begin(), bytes.end()});
    meter_.end(static_cast<uint64_t>(spec.rows), bytes.size(), 0);
  }

  void write_texts() {
    for (const std::string_view name : kTextTensors) {
      const std::string& text = plan_.source.checkpoint.text(name);
      if (text.empty()) continue;
      const auto bytes = std::as_bytes(std::span(text));
      const std::vector<int64_t> shape = {static_cast<int64_t>(bytes.size())};
      writer_.add_small(name, base::DType::kU8, shape, {bytes.begin(), bytes.end()});
    }
  }

  const Plan& plan_;
  const CompressOptions& options_;
  base::ThreadTeam team_;
  format::UpgWriter writer_;
  std::vector<format::MatrixRecord> records_;
  size_t next_record_ = 0;
  std::map<std::string, std::vector<uint8_t>> signs_;  // by activation
  ErrorSums sums_;                                     // of all matrices
  Meter meter_;
  std::optional<Calibration> calibration_;
};

}  // namespace
}  // namespace upg::compression

namespace upg {

CompressResult compress(const std::filesystem::path& checkpoint,
                        const std::filesystem::path& output, const CompressOptions& options,
                        const ProgressCallback& progress) {
  compression::Plan plan = compression::make_plan(checkpoint, options);
  compression::check_output(checkpoint, output, options.force);
  if (compression::chooses_codecs(plan, options)) {
    compression::choose_codecs(plan, options, compression::folder_of(output), progress);
  }
  base::remove_abandoned(output);
  base::remove_abandoned(std::filesystem::path(output) += ".parts");
  compression::check_space(output, plan.summary.disk_bytes);
  CompressResult result;
  {
    compression::Job job(plan, output, options, progress);
    job.run();
    result.relative_error = job.relative_error();
    result.seconds = job.seconds();
  }
  result.plan = plan.summary;
  result.file_bytes = std::filesystem::file_size(output);
  result.ratio_f32 =
      4.0 * static_cast<double>(plan.summary.parameters) / static_cast<double>(result.file_bytes);
  result.bits_per_weight = 32.0 / result.ratio_f32;
  return result;
}

}  // namespace upg
