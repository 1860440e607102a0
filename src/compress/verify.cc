// upg::verify: checksums, the structure of every matrix, and with a source what was lost.
#include <fmt/format.h>

#include <cmath>

#include "base/text.h"
#include "base/threads.h"
#include "compress/encode.h"
#include "compress/meter.h"
#include "compress/plan.h"
#include "compress/stored_model.h"
#include "model/source.h"
#include "upg/compress.h"

namespace upg::compression {
namespace {

// What the outside got wrong becomes a line of the report; the rest is thrown on.
template <class Action>
void collect(std::vector<std::string>& errors, const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidData && error.code() != ErrorCode::kUnsupported) throw;
    errors.emplace_back(error.what());
  }
}

void check_vector(const StoredModel& stored, const StoredTensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.rows));
  base::to_float(*tensor.vector, 0, tensor.rows, values.data());
  check_values(values.data(), tensor.rows, 0, 1,
               fmt::format("{}: tensor \"{}\"", stored.name(), base::printable(tensor.name)));
}

void check_structure(const StoredModel& stored, std::vector<std::string>& errors) {
  for (const StoredTensor& tensor : stored.tensors()) {
    collect(errors, [&] {
      if (tensor.record != nullptr) {
        stored.bind(tensor);
      } else {
        check_vector(stored, tensor);
      }
    });
    stored.release(tensor);
  }
  // Whether the matrices are those that the config asks for.
  if (!errors.empty() || stored.file().info().config.empty()) return;
  collect(errors, [&] { model::ModelSource::open(stored.file().container().path()); });
}

void check_sums(const StoredModel& stored, const ProgressCallback& progress,
                std::vector<std::string>& errors) {
  uint64_t total = 0;
  for (const format::TensorEntry& entry : stored.file().container().tensors()) {
    total += entry.view.bytes.size();
  }
  Meter meter(progress, 1, total);
  meter.begin("checksums");
  const auto found = stored.file().verify([&](uint64_t done, uint64_t) { meter.tick(done); });
  for (const std::string& error : found) {
    errors.push_back(fmt::format("{}: {}", stored.name(), error));
  }
}

// Pairs the tensors of a file with those of a checkpoint and measures each pair.
class Comparison {
 public:
  Comparison(const StoredModel& stored, const SourceModel& source, int threads)
      : stored_(stored), source_(source), team_(threads) {}

  void run(const ProgressCallback& progress, VerifyReport& report) {
    uint64_t elements = 0;
    for (const StoredTensor& tensor : stored_.tensors()) elements += tensor.elements();
    Meter meter(progress, static_cast<int64_t>(stored_.tensors().size()), elements);
    size_t matrix = 0;
    for (const StoredTensor& tensor : stored_.tensors()) {
      meter.begin(tensor.name);
      collect(report.errors, [&] {
        const size_t spec = tensor.record != nullptr ? matrix_spec(tensor, matrix) : find(tensor);
        const ErrorSums sums = tensor.record != nullptr ? measure_matrix(tensor, spec, meter)
                                                        : measure_vector(tensor, spec);
        report.tensors.push_back({source_.specs[spec].name, sums.relative()});
        if (tensor.record != nullptr) sums_.add(sums);
      });
      if (tensor.record != nullptr) ++matrix;
      meter.end(tensor.elements(), tensor.bytes, sums_.relative());
    }
    report.relative_error = sums_.relative();
  }

 private:
  [[noreturn]] void fail(const StoredTensor& tensor, std::string_view found,
                         std::string_view allowed) const {
    throw Error(ErrorCode::kInvalidData,
                fmt::format("{}: tensor \"{}\": found {}, allowed is {} (MISMATCH)", stored_.name(),
                            base::printable(tensor.name), found, allowed));
  }

  size_t find(const StoredTensor& tensor) const {
    for (size_t i = 0; i < source_.specs.size(); ++i) {
      const model::TensorSpec& spec = source_.specs[i];
      if (spec.name != tensor.name) continue;
      check_shape(tensor, spec);
      return i;
    }
    fail(tensor, "the tensor",
         fmt::format("a tensor of {}", base::printable(source_.checkpoint.folder().native())));
  }

  void check_shape(const StoredTensor& tensor, const model::TensorSpec& spec) const {
    // A file that does not say its columns may end before the last one.
    const bool cols_fit = stored_.foreign() ? tensor.cols <= spec.cols : tensor.cols == spec.cols;
    if (tensor.rows == spec.rows && cols_fit) return;
    fail(tensor, fmt::format("{} x {}", tensor.rows, tensor.cols),
         fmt::format("{} x {} of the source's \"{}\"", spec.rows, spec.cols, spec.name));
  }

  // Matrices without names are taken in checkpoint order.
  size_t matrix_spec(const StoredTensor& tensor, size_t matrix) const {
    if (!stored_.foreign()) return find(tensor);
    for (size_t i = 0; i < source_.specs.size(); ++i) {
      if (source_.specs[i].role == model::Role::kVector) continue;
      if (matrix-- > 0) continue;
      check_shape(tensor, source_.specs[i]);
      return i;
    }
    fail(tensor, "a further matrix", "as many as the source has");
  }

  ErrorSums measure_matrix(const StoredTensor& tensor, size_t index, Meter& meter) {
    const model::TensorSpec& spec = source_.specs[index];
    const format::TensorEntry& entry = *source_.entries[index];
    StoredTensor whole = tensor;
    whole.cols = spec.cols;
    const SourceMatrix original = {.where = source_.where(index),
                                   .view = &entry.view,
                                   .rows = spec.rows,
                                   .cols = spec.cols,
                                   .release = {}};
    const ErrorSums sums = measure_error(original, stored_.bind(whole), team_,
                                         [&](uint64_t done) { meter.tick(done); });
    source_.checkpoint.release(entry);
    stored_.release(tensor);
    return sums;
  }

  ErrorSums measure_vector(const StoredTensor& tensor, size_t index) const {
    const auto count = static_cast<size_t>(tensor.rows);
    std::vector<float> original(count);
    std::vector<float> found(count);
    base::to_float(source_.entries[index]->view, 0, tensor.rows, original.data());
    base::to_float(*tensor.vector, 0, tensor.rows, found.data());
    check_values(original.data(), tensor.rows, 0, 1, source_.where(index));
    ErrorSums sums;
    sums.add_elements(original.data(), found.data(), tensor.rows);
    return sums;
  }

  const StoredModel& stored_;
  const SourceModel& source_;
  base::ThreadTeam team_;
  ErrorSums sums_;  // of all matrices
};

}  // namespace
}  // namespace upg::compression

namespace upg {

VerifyReport verify(const std::filesystem::path& file, const std::filesystem::path& source,
                    int threads, const ProgressCallback& progress) {
  VerifyReport report;
  compression::collect(report.errors, [&] {
    const compression::StoredModel stored(file);
    compression::check_sums(stored, progress, report.errors);
    compression::check_structure(stored, report.errors);
    if (source.empty() || !report.errors.empty()) return;
    const compression::SourceModel checkpoint = compression::open_source(source);
    compression::Comparison(stored, checkpoint, threads > 0 ? threads : base::default_threads())
        .run(progress, report);
  });
  report.ok = report.errors.empty();
  return report;
}

}  // namespace upg
