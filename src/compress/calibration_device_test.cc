// Every calibration device of the table against the CPU, on problems whose inputs are correlated
// and drift.
#include "compress/calibration_device.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/tensor_view.h"
#include "codec/matrix.h"
#include "codec/rotation.h"
#include "compress/encode.h"
#include "kernels/backend.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

constexpr int64_t kTokens = 192;
constexpr int64_t kRows = 150;

bool has_gpu() {
  for (const kernels::BackendRow& row : kernels::all_backends()) {
    if (row.device == "cuda" && row.supported()) return true;
  }
  return false;
}

// Inputs, streams and weights of one matrix.
struct Setting {
  Setting(int64_t columns, bool adds) : cols(columns), residual_rows(adds ? kRows : 0) {
    std::mt19937 random(static_cast<unsigned>(columns));
    std::normal_distribution<float> normal(0, 1);
    std::vector<float> common(static_cast<size_t>(kTokens));
    for (float& value : common) value = normal(random);
    for (int64_t i = 0; i < kTokens * cols; ++i) {
      const float loud = i % cols % 37 == 0 ? 6.0f : 1.0f;
      x.push_back(loud * (normal(random) + 0.7f * common[static_cast<size_t>(i / cols)]));
      original.push_back(x.back() + 0.1f * normal(random));
    }
    for (int64_t i = 0; i < kTokens * residual_rows; ++i) {
      stream.push_back(normal(random));
      original_stream.push_back(stream.back() + 0.2f * normal(random));
    }
    for (int64_t i = 0; i < kRows * cols; ++i) weights.push_back(0.05f * normal(random));
  }

  std::unique_ptr<Sums> sums(CalibrationDevice& device) const {
    const auto there = [&](const std::vector<float>& values) {
      kernels::Buffer buffer = device.backend().allocate(values.size() * sizeof(float) + 4);
      device.backend().upload(buffer.floats(), values.data(), values.size() * sizeof(float));
      return buffer;
    };
    const kernels::Buffer inputs = there(x);
    const kernels::Buffer others = there(original);
    const kernels::Buffer from = there(stream);
    const kernels::Buffer wanted = there(original_stream);
    device.backend().synchronise();
    auto sums = device.sums(cols, residual_rows);
    for (int window = 0; window < 2; ++window) {  // the same twice
      sums->add(inputs.floats(), others.floats(), kTokens);
      if (residual_rows == 0) continue;
      sums->add_residual(from.floats(), wanted.floats(), inputs.floats(), kTokens);
    }
    return sums;
  }

  int64_t cols;
  int64_t residual_rows;
  std::vector<float> x, original, stream, original_stream, weights;
};

CodingLoss code(const Setting& setting, const Problem& problem, const uint8_t* signs, int bits,
                base::ThreadTeam& team) {
  const base::TensorView view = {
      base::DType::kF32, {kRows, setting.cols}, std::as_bytes(std::span(setting.weights))};
  const SourceMatrix source = {"w", &view, kRows, setting.cols, {}};
  const RowReader reader(source, signs, codec::padded_cols(setting.cols));
  const codec::PathFit fit = codec::gaussian_fit(bits);
  codec::PathAssembly assembly(kRows, setting.cols, fit.palettes);
  const Tick tick;
  return problem.code({reader, kRows, setting.cols, fit, {}, assembly, team, tick});
}

struct Variant {
  int64_t cols;
  bool adds;
  bool rotated;
};

TEST(CalibrationDevice, TheGpuCodesAsWellAsTheCpu) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no CUDA device on this machine";
  base::ThreadTeam team(2);
  const auto cpu = make_calibration_device("cpu", team);
  const auto gpu = make_calibration_device("cuda", team);
  for (const Variant& v : {Variant{256, false, true}, Variant{384, true, true},
                           Variant{300, true, true}, Variant{256, true, false}}) {
    const Setting setting(v.cols, v.adds);
    const std::vector<uint8_t> signs = codec::make_signs("test", v.cols);
    const uint8_t* by = v.rotated ? signs.data() : nullptr;
    const auto cpu_sums = setting.sums(*cpu);
    const auto gpu_sums = setting.sums(*gpu);
    const auto other_basis = gpu_sums->problem(nullptr, 0.01, "w", true);
    const auto want = cpu_sums->problem(by, 0.01, "w", false);
    const auto got = gpu_sums->problem(by, 0.01, "w", false);
    const CodingProblem& on_host = got->on_host();
    EXPECT_EQ(on_host.order(), want->on_host().order());
    EXPECT_NEAR(on_host.damping() / want->on_host().damping(), 1, 1e-3);
    for (const int bits : {2, 3, 4}) {
      const CodingLoss a = code(setting, *want, by, bits, team);
      const CodingLoss b = code(setting, *got, by, bits, team);
      std::cout << v.cols << " columns, path" << bits << ": loss " << a.loss / a.power << " and "
                << b.loss / b.power << "\n";
      EXPECT_NEAR(b.power / a.power, 1, 2e-3);
      EXPECT_LT(b.loss, 1.01 * a.loss);  // more closings may make it better
      if (bits < 4) {
        EXPECT_GT(b.loss, 0.99 * a.loss);
      }
      const CodingLoss again = code(setting, *got, by, bits, team);
      EXPECT_EQ(again.loss, b.loss) << "the same on every run";
    }
  }
}

TEST(CalibrationDevice, TheGpuNamesWhatIsNoNumber) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no CUDA device on this machine";
  base::ThreadTeam team(1);
  const auto gpu = make_calibration_device("cuda", team);
  Setting setting(256, false);
  setting.x[7] = 1e30f;
  const auto sums = setting.sums(*gpu);
  try {
    sums->problem(nullptr, 0.01, "the.tensor", false);
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidData);
    EXPECT_NE(std::string(error.what()).find("the.tensor"), std::string::npos);
  }
}

TEST(CalibrationDevice, OnlyKnownOnesAreTaken) {
  base::ThreadTeam team(1);
  for (const char* bad : {"", "gpu", "auto", "reference"}) {
    EXPECT_THROW(make_calibration_device(bad, team), Error) << bad;
  }
  EXPECT_NO_THROW(make_calibration_device("cpu", team));
  if (has_gpu()) return;
  try {
    make_calibration_device("cuda", team);
    FAIL() << "there is none";
  } catch (const Error& error) {
    EXPECT_EQ(exit_code(error.code()), 4);
  }
}

}  // namespace
}  // namespace upg::compression
