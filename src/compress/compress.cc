// upg::compress: checkpoint in, UPG file out, one tensor at a time in checkpoint order.
#include "upg/compress.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
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
#include "compress/estimate.h"
#include "compress/journal.h"
#include "compress/meter.h"
#include "compress/needs.h"
#include "compress/plan.h"
#include "compress/plan_file.h"
#include "compress/provenance.h"
#include "compress/source_hash.h"
#include "compress/zeros.h"
#include "format/upg_file.h"
#include "model/layer_loader.h"

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

void note(const CompressOptions& options, const std::string& line) {
  if (options.note) options.note(line);
}

std::string journal_name(const std::filesystem::path& output) {
  return base::printable(Journal::folder_of(output).native());
}

// Bytes that a journal takes already.
uint64_t journal_size(const std::filesystem::path& output) {
  uint64_t bytes = 0;
  std::error_code ignored;
  for (const auto& entry :
       std::filesystem::directory_iterator(Journal::folder_of(output), ignored)) {
    const uint64_t size = entry.file_size(ignored);
    bytes += ignored ? 0 : size;
  }
  return bytes;
}

// Whether to go on with a journal. Finished work is given up only when the user says so.
bool goes_on(const std::filesystem::path& output, const CompressOptions& options, bool calibrated) {
  const std::optional<int> finished = Journal::find(output);
  const std::string name = journal_name(output);
  if (!finished) {
    if (options.resume) note(options, fmt::format("{}: nothing to resume, starting afresh", name));
    return false;
  }
  if (options.resume && !calibrated) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: is of another job, so that --resume cannot go on: --calibrate: "
                            "found none, allowed is a text as before; --force starts over",
                            name));
  }
  if (!options.resume && !options.force) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: holds {} finished matrices of an interrupted compression; "
                            "--resume goes on with it, --force starts over",
                            name, *finished));
  }
  if (!options.resume && !calibrated) Journal::discard(output);
  return options.resume;
}

// The choice of codecs where there is one; an interrupted job's is taken over.
void choose(Plan& plan, const std::filesystem::path& output, const CompressOptions& options,
            bool resume, const ProgressCallback& progress) {
  if (!chooses_codecs(plan, options)) return;
  std::error_code ignored;
  CompressOptions with_plan = options;
  const std::filesystem::path chosen = Journal::plan_file(output);
  if (resume && std::filesystem::exists(chosen, ignored)) with_plan.plan_file = chosen;
  choose_codecs(plan, with_plan, folder_of(output), progress);
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The compression of one checkpoint.
class Job {
 public:
  Job(const Plan& plan, const std::filesystem::path& output, const CompressOptions& options,
      const ProgressCallback& progress)
      : plan_(plan),
        output_(output),
        options_(options),
        team_(plan.threads),
        writer_(output, plan.header_estimate, plan.profile.version),
        records_(plan.records()),
        source_hash_(plan.source),
        meter_(progress, static_cast<int64_t>(plan.storage.size()), plan.summary.parameters,
               calibrates(plan, options) ? [this] { return costs(); } : Meter::Costs()) {
    writer_.reserve(plan.data_bytes);
    if (calibrates(plan, options)) {
      calibration_.emplace(plan, options, folder_of(output), team_);
    }
  }

  // resume: with the journal that an earlier run left.
  void run(bool resume) {
    if (calibration_) open_journal(resume);
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
    finish();
  }

  // What remains of a job that failed, to be said behind its error.
  std::string remains(ErrorCode code) const {
    if (!journal_ || journal_->finished() == 0) return {};
    // What the same job would run into again is not worth going on.
    const bool again = code == ErrorCode::kInvalidData || code == ErrorCode::kUnsupported;
    return fmt::format("; {} keeps the {} finished matrices{}", journal_name(output_),
                       journal_->finished(), again ? "" : ", --resume goes on with them");
  }

  void add_to(CompressResult& result) const {
    result.relative_error = sums_.relative();
    result.seconds = meter_.seconds();
    result.times = times_;
    if (calibration_) calibration_->add_times(result.times);
    result.resumed_matrices = resumed_;
  }

 private:
  void open_journal(bool resume) {
    meter_.begin("checksums of the checkpoint");
    const JobFields job = job_fields(plan_, options_, calibration_->facts(), source_hash_,
                                     [this] { meter_.tick(0); });
    journal_.emplace(output_, job, resume);
    if (!resume && !plan_.kl.empty()) write_plan(Journal::plan_file(output_), plan_, "");
    if (resume) {
      start_layer_ = take_over_streams();
      note(options_, fmt::format("{}: goes on with {} finished matrices, at layer {}",
                                 journal_name(output_), journal_->finished(), start_layer_));
    }
    calibration_->keep = [this](int layer) { keep_streams(layer); };
  }

  bool finished_before(int layer) const {
    for (size_t i = 0; i < plan_.storage.size(); ++i) {
      const TensorSpec& spec = plan_.source.specs[i];
      if (spec.role != model::Role::kMatrix || model::layer_of(spec) >= layer) continue;
      if (!Calibration::codes(spec, plan_.storage[i])) continue;
      if (!journal_->load(i, spec.name, [](std::string_view) {})) return false;
    }
    return true;
  }

  // The layer before which the calibration goes on; 0: it starts over.
  int take_over_streams() {
    const std::optional<int> layer = journal_->streams_layer();
    if (!layer || *layer > plan_.source.config.layers || !finished_before(*layer)) return 0;
    const bool taken = calibration_->read_streams(
        stream_file(*layer), [this] { meter_.tick(0); },
        [this](std::string_view why) {
          note(options_, fmt::format("{}; running the text again", why));
        });
    return taken ? *layer : 0;
  }

  StreamFile stream_file(int layer) const {
    StreamFile file;
    file.file = journal_->streams_file(layer);
    file.job = journal_->job();
    file.layer = layer;
    return file;
  }

  // Worth a note, not worth a failure: without it going on takes longer.
  void keep_streams(int layer) {
    const double begin = now();
    std::error_code error;
    const auto space = std::filesystem::space(folder_of(output_), error);
    if (!error && space.available < 2 * calibration_->stream_bytes()) return;
    try {
      calibration_->write_streams(stream_file(layer), [this] { meter_.tick(0); });
      journal_->drop_streams_before(layer);
    } catch (const Error& failure) {
      if (failure.code() != ErrorCode::kIo) throw;
      note(options_, fmt::format("{}; going on would run the text again", failure.what()));
    }
    times_.writing += now() - begin;
  }

  // Of what is still to be done.
  std::vector<TensorCost> costs() const {
    std::vector<TensorCost> costs = estimate_costs(plan_, options_);
    for (size_t i = 0; i < costs.size(); ++i) {
      if (journal_ && journal_->holds(i)) costs[i] = {.forward = costs[i].forward};
      const TensorSpec& spec = plan_.source.specs[i];
      const bool before = spec.role == model::Role::kMatrix && model::layer_of(spec) < start_layer_;
      if (before) costs[i].forward = 0;
    }
    return costs;
  }

  void finish() {
    const double begin = now();
    Provenance provenance;
    provenance.relative_error = sums_.relative();
    provenance.source = source_hash_.whole();
    if (calibration_) provenance.calibration = calibration_->facts();
    provenance.matrices = std::move(measures_);
    format::UpgInfo info = plan_.info();
    info.compression = compression_text(plan_, options_, provenance);
    writer_.finish(info);
    if (journal_) journal_->remove();
    times_.writing += now() - begin;
  }

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
    const uint8_t* signs = signs_for(index);  // before the parts, in every case: the file's order
    EncodedMatrix encoded = finished_or_encoded(index, source);
    source_hash_.tensor(index, {});
    plan_.source.checkpoint.release(*plan_.source.entries[index]);
    const double begin = now();
    const format::MatrixRecord& record = records_[next_record_++];
    const uint64_t bytes = write_parts(record, encoded);
    times_.writing += now() - begin;
    sums_.add(encoded.sums);
    add_measure(index, encoded);
    meter_.end(count, bytes, encoded.sums.relative());
    if (calibration_) {
      calibration_->coded(plan_.source.specs[index], source, plan_.storage[index], signs,
                          std::move(encoded));
    }
  }

  void add_measure(size_t index, const EncodedMatrix& encoded) {
    Provenance::Measure measure{.name = plan_.source.specs[index].name,
                                .relative_error = encoded.sums.relative(),
                                .loss = std::nullopt,
                                .kl = std::nullopt};
    if (encoded.power > 0) measure.loss = encoded.loss / encoded.power;
    if (calibration_ && !plan_.kl.empty()) measure.kl = plan_.kl[index];
    measures_.push_back(std::move(measure));
  }

  // The journal keeps what takes long: calibrated matrices.
  EncodedMatrix finished_or_encoded(size_t index, const SourceMatrix& source) {
    const TensorSpec& spec = plan_.source.specs[index];
    if (!journal_ || !calibration_->codes(spec, plan_.storage[index])) {
      const double begin = now();
      EncodedMatrix encoded = encode(index, source);
      times_.coding += now() - begin;
      return encoded;
    }
    std::optional<EncodedMatrix> found =
        journal_->load(index, spec.name, [this](std::string_view why) {
          note(options_, fmt::format("{}; coding the matrix again", why));
        });
    if (found) {
      ++resumed_;
      return std::move(*found);
    }
    EncodedMatrix encoded = encode(index, source);
    const double begin = now();
    journal_->store(index, spec.name, encoded);
    times_.writing += now() - begin;
    return encoded;
  }

  EncodedMatrix encode(size_t index, const SourceMatrix& source) {
    const TensorSpec& spec = plan_.source.specs[index];
    const Storage& storage = plan_.storage[index];
    const auto count = static_cast<uint64_t>(source.rows) * static_cast<uint64_t>(source.cols);
    const Tick tick = [this, count](uint64_t elements) { meter_.tick(elements / 2, count); };
    try {
      if (calibration_ && calibration_->codes(spec, storage)) {
        return calibration_->encode(spec, source, storage, signs_for(index), tick,
                                    [this](double share) { meter_.prepare(share); });
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
    source_hash_.tensor(index, {});
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
  const std::filesystem::path& output_;
  const CompressOptions& options_;
  base::ThreadTeam team_;
  format::UpgWriter writer_;
  std::vector<format::MatrixRecord> records_;
  size_t next_record_ = 0;
  std::map<std::string, std::vector<uint8_t>> signs_;  // by activation
  SourceHash source_hash_;
  ErrorSums sums_;  // of all matrices
  std::vector<Provenance::Measure> measures_;
  CompressTimes times_;  // without the calibration's own
  int resumed_ = 0;
  int start_layer_ = 0;  // the text was run up to it before
  Meter meter_;
  std::optional<Calibration> calibration_;
  std::optional<Journal> journal_;
};

}  // namespace
}  // namespace upg::compression

namespace upg {

CompressResult compress(const std::filesystem::path& checkpoint,
                        const std::filesystem::path& output, const CompressOptions& options,
                        const ProgressCallback& progress) {
  compression::Plan plan = compression::make_plan(checkpoint, options);
  compression::check_output(checkpoint, output, options.force);
  compression::check_memory(plan, options);  // before weights are read, and when all is known
  compression::keep_zeros(plan, options);
  const bool resume = compression::goes_on(output, options, compression::calibrates(plan, options));
  compression::choose(plan, output, options, resume, progress);
  base::remove_abandoned(output);
  base::remove_abandoned(std::filesystem::path(output) += ".parts");
  compression::check_memory(plan, options);
  compression::check_space(
      output, plan.summary.disk_bytes -
                  std::min(plan.summary.disk_bytes, compression::journal_size(output)));
  CompressResult result;
  {
    compression::Job job(plan, output, options, progress);
    try {
      job.run(resume);
    } catch (const Error& error) {
      throw Error(error.code(), error.what() + job.remains(error.code()));
    }
    job.add_to(result);
  }
  result.plan = plan.summary;
  result.file_bytes = std::filesystem::file_size(output);
  result.ratio_f32 =
      4.0 * static_cast<double>(plan.summary.parameters) / static_cast<double>(result.file_bytes);
  result.bits_per_weight = 32.0 / result.ratio_f32;
  return result;
}

}  // namespace upg
