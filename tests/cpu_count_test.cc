// CPU quotas of cgroups, from files as Linux shows them.
#include "engine/runtime/cpu_count.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace lightcap::internal {
namespace {

namespace fs = std::filesystem;

class CpuCount : public ::testing::Test {
 protected:
  CpuCount() {
    std::string name = (fs::temp_directory_path() / "lightcap_test_XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  ~CpuCount() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ + path).substr(0, (root_ + path).rfind('/')));
    std::ofstream(root_ + path) << text;
  }
  double quota() const { return cgroup_cpu_quota(root_); }

  std::string root_;
};

constexpr char kMount2[] = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

TEST_F(CpuCount, NoFilesAreNoLimit) { EXPECT_EQ(quota(), INFINITY); }

TEST_F(CpuCount, AtLeastOneOfThisMachine) { EXPECT_GE(cpu_count(), 1); }

TEST_F(CpuCount, VersionTwoInAContainer) {
  write("/proc/self/mountinfo", kMount2);
  write("/proc/self/cgroup", "0::/\n");
  write("/sys/fs/cgroup/cpu.max", "150000 100000\n");
  EXPECT_EQ(quota(), 1.5);
  write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(quota(), INFINITY);
}

TEST_F(CpuCount, TheLeastOfAllParentsCounts) {
  write("/proc/self/mountinfo", kMount2);
  write("/proc/self/cgroup", "0::/user.slice/app.scope/inner\n");
  write("/sys/fs/cgroup/user.slice/cpu.max", "200000 100000\n");
  write("/sys/fs/cgroup/user.slice/app.scope/cpu.max", "max 100000\n");
  write("/sys/fs/cgroup/user.slice/app.scope/inner/cpu.max", "300000 100000\n");
  EXPECT_EQ(quota(), 2);
  write("/sys/fs/cgroup/user.slice/app.scope/inner/cpu.max", "25000 50000\n");
  EXPECT_EQ(quota(), 0.5);
}

TEST_F(CpuCount, VersionOne) {
  write("/proc/self/mountinfo",
        "33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
        "34 32 0:30 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n");
  write("/proc/self/cgroup", "5:memory:/other\n4:cpu,cpuacct:/job\n0::/\n");
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), INFINITY);
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "400000\n");
  EXPECT_EQ(quota(), 4);
}

TEST_F(CpuCount, VersionOneInAContainerThatIsToldTheHostsPath) {
  write("/proc/self/mountinfo",
        "33 32 0:29 /docker/abc /sys/fs/cgroup/cpu ro master:10 - cgroup cgroup rw,cpu\n");
  write("/proc/self/cgroup", "4:cpu:/docker/abc\n");
  write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "120000\n");
  write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), 1.2);
  write("/proc/self/cgroup", "4:cpu:/docker/abc/inner\n");
  write("/sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "60000\n");
  write("/sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), 0.6);
}

TEST_F(CpuCount, OddFilesAreNoLimit) {
  for (const char* text : {"", "\n", "max", "0 0", "-5 100000", "words and words", "100000"}) {
    write("/proc/self/mountinfo", kMount2);
    write("/proc/self/cgroup", "0::/../..\n");
    write("/sys/fs/cgroup/cpu.max", text);
    EXPECT_EQ(quota(), INFINITY) << text;
  }
  write("/proc/self/mountinfo", "\n - \n1 2 3\n33 32 0:29 / /x rw - cgroup2\n - cgroup cgroup cpu");
  write("/proc/self/cgroup", ":\n::\n0::\nno colon\n");
  EXPECT_EQ(quota(), INFINITY);
}

}  // namespace
}  // namespace lightcap::internal
