#include "base/topology.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/file.h"
#include "base/memory.h"
#include "base/threads.h"
#include "upg/error.h"

namespace upg::base {
namespace {

class TopologyTest : public testing::Test {
 protected:
  TopologyTest()
      : root_(std::filesystem::path(testing::TempDir()) /
              ("topology-" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(root_);
  }
  ~TopologyTest() override { std::filesystem::remove_all(root_); }

  void write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << '\n';
  }

  std::filesystem::path root_;
};

TEST_F(TopologyTest, HyperThreadsCountOnceAndNodesKeepWhatIsAllowed) {
  for (int cpu = 0; cpu < 8; ++cpu) {
    const std::string folder = "cpu/cpu" + std::to_string(cpu) + "/topology/";
    write(folder + "physical_package_id", std::to_string(cpu / 2 % 2));
    write(folder + "core_id", std::to_string(cpu % 2));
  }
  write("node/online", "0-2,5");
  write("node/node0/cpulist", "0-1,4-5");
  write("node/node1/cpulist", "2-3,6-7");
  write("node/node2/cpulist", "");  // memory alone
  write("node/node5/cpulist", "8-11");
  const Topology all = read_topology(root_, {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(all.cores, 4);
  ASSERT_EQ(all.nodes.size(), 2u);
  EXPECT_EQ(all.nodes[1].id, 1);
  EXPECT_EQ(all.nodes[1].cpus, (std::vector<int>{2, 3, 6, 7}));
  const Topology some = read_topology(root_, {3, 7});
  EXPECT_EQ(some.cores, 1);
  ASSERT_EQ(some.nodes.size(), 1u);
  EXPECT_EQ(some.nodes[0].cpus, (std::vector<int>{3, 7}));
}

TEST_F(TopologyTest, WithoutSysfsThereIsOneNode) {
  const Topology none = read_topology(root_, {2, 3});
  EXPECT_EQ(none.cores, 2);
  ASSERT_EQ(none.nodes.size(), 1u);
  EXPECT_EQ(none.nodes[0].cpus, (std::vector<int>{2, 3}));
}

TEST(TopologyOfThisMachineTest, IsSane) {
  const Topology here = topology();
  ASSERT_FALSE(here.nodes.empty());
  EXPECT_GE(here.cores, 1);
  for (const Topology::Node& node : here.nodes) EXPECT_FALSE(node.cpus.empty());
  EXPECT_GE(quota_cpus(), 1);
}

TEST(TopologyOfThisMachineTest, ThreadsAreDealtOutInOrder) {
  Topology two;
  two.nodes = {{0, {0}}, {1, {1}}};
  EXPECT_EQ(two.node_of(0, 5), 0u);
  EXPECT_EQ(two.node_of(2, 5), 0u);
  EXPECT_EQ(two.node_of(3, 5), 1u);
  EXPECT_EQ(two.node_of(4, 5), 1u);
}

// Affinity is the container's way of giving few processors too.
TEST(TopologyOfThisMachineTest, AffinityLimitsThreads) {
  int threads = 0;
  std::thread([&] {
    pin_to({topology().nodes[0].cpus[0]});
    threads = default_threads();
  }).join();
  EXPECT_EQ(threads, 1);
}

TEST(MemoryTest, PagesOfAMappedFileMoveAndStayWhatTheyAre) {
  const auto path =
      std::filesystem::path(testing::TempDir()) / ("memory_test-" + std::to_string(::getpid()));
  std::ofstream(path) << std::string(100'000, 'x');
  {
    const MappedFile file(path);
    advise_huge_pages(file.bytes());
    // A container may forbid it; what matters is that nothing else happens.
    (void)move_to_node(file.bytes().subspan(5000, 50'000), topology().nodes[0].id);
    EXPECT_FALSE(move_to_node(file.bytes(), 1000));
    for (const std::byte byte : file.bytes()) ASSERT_EQ(byte, std::byte{'x'});
  }
  std::filesystem::remove(path);
}

TEST(MemoryTest, LockingSaysWhatTheLimitIs) {
  void* data = ::mmap(nullptr, 1 << 16, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(data, MAP_FAILED);
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(data), 1 << 16);
  EXPECT_NO_THROW(lock_memory(bytes.first(4096), "x"));
  ::munmap(data, 1 << 16);
  if (::mlock(data, 1 << 16) == 0) GTEST_SKIP() << "a sanitizer answers for mlock()";
  try {
    lock_memory(bytes, "m.upg");  // no longer mapped: the system refuses
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    EXPECT_NE(std::string(error.what()).find("m.upg: cannot lock 65"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace upg::base
