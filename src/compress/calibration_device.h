// Where the heavy arithmetic of calibration runs: moments, factors, the coding of paths. A table
// with a row for each kind of device; the CPU's row is the specification.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/threads.h"
#include "codec/path_assembly.h"
#include "codec/path_palette.h"
#include "compress/chunk_loop.h"
#include "compress/coding_problem.h"
#include "compress/feedback_coder.h"
#include "compress/row_reader.h"
#include "kernels/backend.h"

namespace upg::compression {

// What is coded, and where the codes go.
struct PathJob {
  const RowReader& reader;
  int64_t rows = 0;
  int64_t cols = 0;
  codec::PathFit fit;
  CodingOptions options;
  codec::PathAssembly& out;
  base::ThreadTeam& team;
  const Tick& tick;
};

// The problem that the rows of a matrix share, wherever it lies.
class Problem {
 public:
  virtual ~Problem() = default;
  // Codes all rows; the same for any team. Throws what reading the rows and `tick` throw.
  virtual CodingLoss code(const PathJob& job) const = 0;
  // For coders that run on the CPU alone; valid as long as this.
  virtual const CodingProblem& on_host() const = 0;
};

// Sums over the windows of a text: MomentSums, wherever they lie.
class Sums {
 public:
  virtual ~Sums() = default;
  // As those of MomentSums, of vectors in the memory of the device's backend, whose work on them is
  // done; they may change afterwards. add_residual() follows add() of the same window.
  virtual void add(const float* compressed, const float* original, int64_t tokens) = 0;
  virtual void add_residual(const float* compressed_stream, const float* original_stream,
                            const float* compressed, int64_t tokens) = 0;
  // keep: it will be asked for again, in another basis. Throws what CodingProblem throws.
  virtual std::unique_ptr<Problem> problem(const uint8_t* signs, double damping,
                                           std::string_view tensor, bool keep) = 0;
};

class CalibrationDevice {
 public:
  virtual ~CalibrationDevice() = default;
  // The text runs through the layers there.
  virtual kernels::Backend& backend() noexcept = 0;
  // Which library computes products and factors: another one rounds differently.
  virtual std::string algebra() const = 0;
  virtual std::unique_ptr<Sums> sums(int64_t cols, int64_t residual_rows) = 0;
};

struct CalibrationDeviceRow {
  std::string_view device;  // "cpu", "cuda"
  // `device` as the user wrote it; throws Error(kDevice) where it is not there.
  std::unique_ptr<CalibrationDevice> (*make)(const std::string& device, base::ThreadTeam& team);
};

// device: cpu, cuda, cuda:N. Throws Error: kUsage for any other, kDevice for one that this machine
// or this build lacks.
std::unique_ptr<CalibrationDevice> make_calibration_device(const std::string& device,
                                                           base::ThreadTeam& team);
void check_calibration_device(const std::string& device);

// A problem in the CPU's memory as a Problem; `problem` must outlive it.
std::unique_ptr<Problem> as_problem(const CodingProblem& problem);

namespace cuda {
std::span<const CalibrationDeviceRow> calibration_rows() noexcept;  // none in builds without
}

}  // namespace upg::compression
