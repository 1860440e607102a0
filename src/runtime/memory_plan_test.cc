#include "runtime/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <climits>
#include <optional>
#include <string>

namespace upg::runtime {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMegabyte = 1000 * 1000;
constexpr uint64_t kReserve = uint64_t{256} << 20;  // memory_plan.cc

// Ten layers of 100 MB, a head of 300, an embedding of 200; a page is 1 MB a layer.
DeviceNeeds needs(uint64_t free_megabytes) {
  DeviceNeeds needs;
  needs.layers.assign(10, 100 * kMegabyte);
  needs.rest = 300 * kMegabyte;
  needs.embedding = 200 * kMegabyte;
  needs.layer_page = kMegabyte;
  needs.scratch = 50 * kMegabyte;
  needs.free = free_megabytes * kMegabyte + kReserve;
  return needs;
}

CacheRequest request(int context, int sequences = 1) {
  CacheRequest request;
  request.model_context = 16384;
  request.context = context;
  request.sequences = sequences;
  return request;
}

std::string error_of(const DeviceNeeds& needs, const GpuLayers& wanted, const CacheRequest& request,
                     ErrorCode code = ErrorCode::kOutOfMemory) {
  try {
    plan_device(needs, wanted, request);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

TEST(MemoryPlan, EverythingWhereThereIsRoom) {
  const DevicePlan plan = plan_device(needs(100000), {}, request(0));
  EXPECT_EQ(plan.layers, 10);
  EXPECT_EQ(plan.weight_bytes, 1500 * kMegabyte);
  EXPECT_EQ(plan.cache.context, 16384);
  EXPECT_EQ(plan.cache.pages, 512);
  EXPECT_EQ(plan.cache_bytes, 5120 * kMegabyte);
}

TEST(MemoryPlan, TheContextIsAsLongAsHalfOfTheRestAllows) {
  // 1,550 MB are taken, 128 pages of 10 MB must fit; of 3,000 MB half makes 150 pages.
  const DevicePlan plan = plan_device(needs(4550), {}, request(0));
  EXPECT_EQ(plan.layers, 10);
  EXPECT_EQ(plan.cache.context, 150 * 32);
  EXPECT_LE(plan.weight_bytes + plan.cache_bytes + 50 * kMegabyte, 4550 * kMegabyte);
}

TEST(MemoryPlan, AutoTakesWhatFits) {
  // A layer is 100 MB and 32 pages of 1 MB; 350 MB are there in any case.
  EXPECT_EQ(plan_device(needs(350 + 4 * 132), {}, request(1024)).layers, 4);
  EXPECT_EQ(plan_device(needs(350 + 4 * 132 - 1), {}, request(1024)).layers, 3);
  EXPECT_EQ(plan_device(needs(350 + 10 * 132), {}, request(1024)).layers, 9)
      << "with all layers comes the embedding";
  EXPECT_EQ(plan_device(needs(550 + 10 * 132), {}, request(1024)).layers, 10);
  EXPECT_EQ(plan_device(needs(350), {}, request(1024)).layers, 0);
  EXPECT_EQ(plan_device(needs(0), {}, request(1024)).layers, 0);
  const DevicePlan some = plan_device(needs(350 + 4 * 132), {}, request(1024));
  EXPECT_EQ(some.weight_bytes, 700 * kMegabyte);
  EXPECT_EQ(some.cache_bytes, 4 * 32 * kMegabyte);
  EXPECT_EQ(some.cache.context, 1024);
}

TEST(MemoryPlan, AutoKeepsAUsefulContext) {
  // 228 MB a layer with 4,096 tokens.
  const DevicePlan plan = plan_device(needs(350 + 3 * 228), {}, request(0));
  EXPECT_EQ(plan.layers, 3);
  EXPECT_EQ(plan.cache.context, 4096);
  EXPECT_EQ(plan_device(needs(350 + 3 * (100 + 2 * 128)), {}, request(0, 2)).cache.pages, 256);
}

TEST(MemoryPlan, ANumberIsANumber) {
  EXPECT_EQ(plan_device(needs(100000), {false, 3}, request(1024)).layers, 3);
  EXPECT_EQ(plan_device(needs(100000), {false, 0}, request(1024)).layers, 0);
  EXPECT_EQ(plan_device(needs(100000), {false, 99}, request(1024)).layers, 10);
  EXPECT_EQ(plan_device(needs(100000), {false, INT_MAX}, request(1024)).layers, 10);
}

TEST(MemoryPlan, WhatDoesNotFitIsRefusedWithItsFigures) {
  const std::string five = error_of(needs(700), {false, 5}, request(1024));
  EXPECT_THAT(five, HasSubstr("5 of 10 layers"));
  EXPECT_THAT(five, HasSubstr("weights 800"));
  EXPECT_THAT(five, HasSubstr("cache of 1 x 1024 tokens 160"));
  EXPECT_THAT(five, HasSubstr("free are 968"));
  EXPECT_THAT(error_of(needs(1600), {false, INT_MAX}, request(16384, 3)),
              HasSubstr("10 of 10 layers"));
}

TEST(MemoryPlan, RequestsAreCheckedFirst) {
  error_of(needs(700), {}, request(99999), ErrorCode::kUsage);
  error_of(needs(700), {}, request(1024, 0), ErrorCode::kUsage);
}

TEST(MemoryPlan, LayersAreAutoAllOrANumber) {
  EXPECT_TRUE(parse_gpu_layers("auto").automatic);
  EXPECT_EQ(parse_gpu_layers("all").count, INT_MAX);
  EXPECT_FALSE(parse_gpu_layers("all").automatic);
  EXPECT_EQ(parse_gpu_layers("12").count, 12);
  for (const char* bad : {"", "-1", "12x", "most", "99999999999"}) {
    EXPECT_THROW(parse_gpu_layers(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace upg::runtime
