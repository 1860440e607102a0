// Every architecture on every backend of this machine against transformers: tiny random
// checkpoints and their logits, made by tests/oracle/make_variants.py.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "model/step_runner.h"

namespace upg::model {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(UPG_SOURCE_DIR) / "tests/golden/model_variants";

struct GoldenCase {
  std::vector<int32_t> ids;
  int64_t planned = 0;
  std::vector<float> logits;  // [ids, vocabulary]
};

std::vector<GoldenCase> read_golden(const fs::path& path) {
  const std::string text = base::read_file(path, size_t{1} << 24);
  const base::JsonDocument document(text, path.native());
  std::vector<GoldenCase> cases;
  for (const base::Json& json : document.root().find("cases")->as_array("cases")) {
    GoldenCase& golden = cases.emplace_back();
    golden.planned = json.find("planned")->as_integer("planned", 1, 1 << 20);
    for (const base::Json& id : json.find("ids")->as_array("ids")) {
      golden.ids.push_back(static_cast<int32_t>(id.as_integer("ids", 0, 1 << 20)));
    }
    for (const base::Json& row : json.find("logits")->as_array("logits")) {
      for (const base::Json& value : row.as_array("logits")) {
        golden.logits.push_back(static_cast<float>(value.as_number("logits")));
      }
    }
  }
  return cases;
}

std::vector<std::string> variant_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::unique_ptr<kernels::Backend> backend_named(std::string_view name) {
  kernels::BackendOptions options;
  options.cpu = name;
  options.threads = 2;
  return kernels::create_backend(options);
}

class Variants : public testing::TestWithParam<std::string> {
 protected:
  // Calls check(runner, golden case) for every backend this machine has.
  template <class Check>
  void for_each_backend(kernels::KvType type, const Check& check) {
    const std::vector<GoldenCase> cases = read_golden(kFolder / GetParam() / "golden.json");
    ASSERT_FALSE(cases.empty());
    const std::shared_ptr<const ModelSource> source = ModelSource::open(kFolder / GetParam());
    for (const kernels::BackendRow& row : kernels::all_backends()) {
      if (!row.supported()) continue;
      SCOPED_TRACE(row.name);
      const auto backend = backend_named(row.name);
      StepRunner runner(source, *backend, 64, type);
      for (const GoldenCase& golden : cases) check(runner, golden);
    }
  }
};

TEST_P(Variants, WholePromptMatchesTransformers) {
  for_each_backend(kernels::KvType::kF32, [](StepRunner& runner, const GoldenCase& golden) {
    const auto logits = runner.run(golden.ids, golden.ids.size(), golden.planned);
    EXPECT_LE(relative_error(logits, golden.logits), 1e-4);
  });
}

TEST_P(Variants, ChunksMatchTheWhole) {
  for_each_backend(kernels::KvType::kF32, [](StepRunner& runner, const GoldenCase& golden) {
    for (const size_t chunk : {size_t{1}, size_t{7}, size_t{32}}) {
      const auto logits = runner.run(golden.ids, chunk, golden.planned);
      EXPECT_LE(relative_error(logits, golden.logits), 1e-4) << "chunks of " << chunk;
    }
  });
}

TEST_P(Variants, HalfPrecisionCacheIsClose) {
  for_each_backend(kernels::KvType::kF16, [](StepRunner& runner, const GoldenCase& golden) {
    const auto logits = runner.run(golden.ids, golden.ids.size(), golden.planned);
    EXPECT_LE(relative_error(logits, golden.logits), 3e-3);
  });
}

INSTANTIATE_TEST_SUITE_P(All, Variants, testing::ValuesIn(variant_names()),
                         [](const auto& variant) { return variant.param; });

TEST(VariantsFolder, HoldsEveryArchitecture) {
  std::string missing = architecture_names();
  for (const std::string& name : variant_names()) {
    const std::string found = ModelSource::open(kFolder / name)->config().architecture;
    const size_t at = missing.find(found);
    if (at != std::string::npos) missing.erase(at, found.size());
  }
  EXPECT_EQ(missing.find_first_not_of(", "), std::string::npos) << missing;
}

// What the planned context changes: the same short prompt, opened short and long.
TEST(Longrope, ThePlannedContextChoosesTheFactors) {
  const fs::path folder = kFolder / "phi3_longrope";
  const std::vector<GoldenCase> cases = read_golden(folder / "golden.json");
  ASSERT_EQ(cases.size(), 2u);
  const auto backend = backend_named("reference");
  StepRunner runner(ModelSource::open(folder), *backend, 64, kernels::KvType::kF32);
  ASSERT_EQ(runner.model().config().long_from, 16);
  EXPECT_EQ(&runner.model().rope_for(16), &runner.model().config().rope);
  EXPECT_EQ(&runner.model().rope_for(17), &runner.model().config().long_rope);

  const std::span<const int32_t> start(cases[1].ids.data(), 10);
  const size_t floats = 10 * static_cast<size_t>(runner.model().config().vocabulary);
  const std::span<const float> want(cases[1].logits.data(), floats);
  EXPECT_LE(relative_error(runner.run(start, 10, 17), want), 1e-4);
  EXPECT_GT(relative_error(runner.run(start, 10, 16), want), 1e-2);
}

}  // namespace
}  // namespace upg::model
