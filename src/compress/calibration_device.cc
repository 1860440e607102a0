#include "compress/calibration_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/text.h"
#include "compress/linear_algebra.h"
#include "compress/moments.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

constexpr int64_t kChunkElements = int64_t{1} << 19;

// ---- the CPU

CodingLoss code_on_host(const CodingProblem& problem, const PathJob& job) {
  const FeedbackCoder coder(problem, job.fit, job.options);
  const int64_t width = job.reader.stored_cols();
  const int64_t step = std::max<int64_t>(kChunkElements / width / 32 * 32, 32);
  Buffers buffers(job.team, step * width);
  ChunkLoop loop(job.rows, job.cols, step, 0, job.tick);
  std::vector<CodingLoss> losses(static_cast<size_t>(loop.chunks()));
  loop.run(job.team, [&](int64_t chunk, int64_t first, int64_t count, int thread) {
    float* rows = buffers.of(thread);
    job.reader.read(first, count, rows);
    losses[static_cast<size_t>(chunk)] = coder.code(first, count, rows, job.out);
    job.reader.release(first, count);
  });
  CodingLoss loss;
  for (const CodingLoss& one : losses) {  // in order: the same for any team
    loss.loss += one.loss;
    loss.power += one.power;
  }
  return loss;
}

class HostProblem final : public Problem {
 public:
  explicit HostProblem(CodingProblem problem) : own_(std::move(problem)), problem_(*own_) {}
  explicit HostProblem(const CodingProblem* problem) : problem_(*problem) {}
  CodingLoss code(const PathJob& job) const override { return code_on_host(problem_, job); }
  const CodingProblem& on_host() const override { return problem_; }

 private:
  std::optional<CodingProblem> own_;
  const CodingProblem& problem_;
};

class HostSums final : public Sums {
 public:
  HostSums(int64_t cols, int64_t residual_rows, base::ThreadTeam& team)
      : sums_(cols, true, residual_rows), team_(team) {}
  void add(const float* compressed, const float* original, int64_t tokens) override {
    sums_.add(compressed, original, tokens, team_);
  }
  void add_residual(const float* compressed_stream, const float* original_stream,
                    const float* compressed, int64_t tokens) override {
    sums_.add_residual(compressed_stream, original_stream, compressed, tokens, team_);
  }
  std::unique_ptr<Problem> problem(const uint8_t* signs, double damping, std::string_view tensor,
                                   bool keep) override {
    Moments moments = keep ? sums_.in_basis(signs) : std::move(sums_).in_basis(signs);
    return std::make_unique<HostProblem>(CodingProblem(std::move(moments), damping, tensor));
  }

 private:
  MomentSums sums_;
  base::ThreadTeam& team_;
};

class HostDevice final : public CalibrationDevice {
 public:
  explicit HostDevice(base::ThreadTeam& team) : team_(team) {
    kernels::BackendOptions options;
    options.device = "cpu";
    options.threads = team.size();
    backend_ = kernels::create_backend(options);
  }
  kernels::Backend& backend() noexcept override { return *backend_; }
  std::string algebra() const override { return blas_name(); }
  std::unique_ptr<Sums> sums(int64_t cols, int64_t residual_rows) override {
    return std::make_unique<HostSums>(cols, residual_rows, team_);
  }

 private:
  base::ThreadTeam& team_;
  std::unique_ptr<kernels::Backend> backend_;
};

// ---- the table

std::vector<CalibrationDeviceRow> rows() {
  const auto cuda_rows = cuda::calibration_rows();
  std::vector<CalibrationDeviceRow> rows = {
      {"cpu", [](const std::string&, base::ThreadTeam& team) -> std::unique_ptr<CalibrationDevice> {
         return std::make_unique<HostDevice>(team);
       }}};
  rows.insert(rows.end(), cuda_rows.begin(), cuda_rows.end());
  return rows;
}

std::string_view kind_of(std::string_view device) { return device.substr(0, device.find(':')); }

}  // namespace

std::unique_ptr<Problem> as_problem(const CodingProblem& problem) {
  return std::make_unique<HostProblem>(&problem);
}

void check_calibration_device(const std::string& device) {
  if (device == "cpu" || kind_of(device) == "cuda") return;
  throw Error(ErrorCode::kUsage, fmt::format("device: found \"{}\", allowed cpu, cuda, cuda:N",
                                             base::printable(device)));
}

std::unique_ptr<CalibrationDevice> make_calibration_device(const std::string& device,
                                                           base::ThreadTeam& team) {
  check_calibration_device(device);
  for (const CalibrationDeviceRow& row : rows()) {
    if (row.device == kind_of(device)) return row.make(device, team);
  }
  throw Error(ErrorCode::kDevice,
              fmt::format("device: found {}, which is not built into this upg", device));
}

}  // namespace upg::compression
