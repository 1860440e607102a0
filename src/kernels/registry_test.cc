#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "upg/error.h"

namespace upg::kernels {
namespace {

// Sets UPG_CPU for a test and puts back what was there.
class WithVariable {
 public:
  explicit WithVariable(const char* value) {
    if (const char* before = std::getenv("UPG_CPU")) before_ = before, was_set_ = true;
    set(value);
  }
  ~WithVariable() { set(was_set_ ? before_.c_str() : nullptr); }

 private:
  static void set(const char* value) {
    value != nullptr ? setenv("UPG_CPU", value, 1) : unsetenv("UPG_CPU");
  }
  std::string before_;
  bool was_set_ = false;
};

ErrorCode code_of(const BackendOptions& options, const std::string& part_of_message) {
  try {
    create_backend(options);
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(part_of_message));
    return error.code();
  }
  ADD_FAILURE() << "no error for " << options.device << ", " << options.cpu;
  return ErrorCode::kIo;
}

TEST(Registry, EveryRowCanBeForced) {
  const WithVariable none(nullptr);
  for (const BackendRow& row : all_backends()) {
    const BackendOptions options{.cpu = std::string(row.name), .threads = 1};
    if (row.supported()) {
      EXPECT_EQ(create_backend(options)->name(), row.name);
      EXPECT_THAT(create_backend(options)->describe(), testing::HasSubstr(std::string(row.name)));
      const WithVariable variable(options.cpu.c_str());
      EXPECT_EQ(create_backend({.threads = 1})->name(), row.name);
    } else {
      std::cout << "this machine lacks " << row.name << " (" << row.needs << ")\n";
      EXPECT_EQ(code_of(options, options.cpu), ErrorCode::kDevice);
    }
  }
}

TEST(Registry, HoldsEveryTableOfTheProcessorFamily) {
  std::vector<std::string_view> names;
  for (const BackendRow& row : all_backends()) {
    if (row.device == "cpu" || row.device == "reference") names.push_back(row.name);
  }
#if defined(__x86_64__)
  EXPECT_THAT(names, testing::ElementsAre("avx512vbmi", "avx512vnni", "avx512vnni256", "avx512",
                                          "avxvnni", "avx2", "reference"));
#elif defined(__aarch64__)
  EXPECT_THAT(names, testing::ElementsAre("neondot", "neon", "reference"));
#else
  EXPECT_THAT(names, testing::ElementsAre("reference"));
#endif
}

TEST(Registry, ReferenceIsLastAndTheBestIsTheDefault) {
  const WithVariable none(nullptr);
  EXPECT_EQ(all_backends().back().name, "reference");
  const BackendRow* best = nullptr;
  const BackendRow* best_cpu = nullptr;
  for (const BackendRow& row : all_backends()) {
    if (!row.supported()) continue;
    if (best == nullptr) best = &row;
    if (best_cpu == nullptr && row.device != "cuda") best_cpu = &row;
  }
  EXPECT_EQ(&select_backend({}), best);
  EXPECT_EQ(&select_backend({.device = "cpu"}), best_cpu);
}

TEST(Registry, TheOptionGoesBeforeTheVariable) {
  const WithVariable variable("no-such-set");
  EXPECT_EQ(select_backend({.cpu = "reference"}).name, "reference");
  EXPECT_EQ(select_backend({.device = "reference"}).name, "reference");
  EXPECT_EQ(code_of({}, "UPG_CPU: found \"no-such-set\""), ErrorCode::kUsage);
}

TEST(Registry, UnknownNamesAreRefused) {
  const WithVariable none(nullptr);
  EXPECT_EQ(code_of({.cpu = "avx1024"}, "reference"), ErrorCode::kUsage);
  EXPECT_EQ(code_of({.device = "tpu"}, "auto, cpu, reference"), ErrorCode::kUsage);
  EXPECT_EQ(code_of({.device = "vulkan"}, "not built into this upg"), ErrorCode::kDevice);
  EXPECT_EQ(code_of({.device = "reference", .threads = -1}, "threads"), ErrorCode::kUsage);
}

// In every build and on every machine: a device that is not there is refused by name.
TEST(Registry, MissingGpusAreRefused) {
  EXPECT_EQ(code_of({.device = "cuda:999"}, "cuda:999"), ErrorCode::kDevice);
  const auto rows = all_backends();
  const bool built = std::any_of(rows.begin(), rows.end(),
                                 [](const BackendRow& row) { return row.device == "cuda"; });
  if (!built) {
    EXPECT_EQ(code_of({.device = "cuda"}, "not built into this upg"), ErrorCode::kDevice);
  } else {
    EXPECT_EQ(code_of({.device = "cuda:one"}, "cuda:N"), ErrorCode::kUsage);
  }
}

TEST(Registry, FloatActivationsAreGrantedOrRefusedByName) {
  const WithVariable none(nullptr);
  for (const BackendRow& row : all_backends()) {
    if (!row.supported()) continue;
    BackendOptions options{.cpu = std::string(row.name), .threads = 1};
    options.activations = Activations::kF32;
    try {
      EXPECT_EQ(create_backend(options)->name(), row.name);
    } catch (const Error& error) {
      EXPECT_NE(row.name, "reference");
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
      EXPECT_THAT(error.what(), testing::HasSubstr("reference"));
    }
  }
}

}  // namespace
}  // namespace upg::kernels
