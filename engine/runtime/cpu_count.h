// How many processors this process may really use.
#ifndef LIGHTCAP_ENGINE_RUNTIME_CPU_COUNT_H_
#define LIGHTCAP_ENGINE_RUNTIME_CPU_COUNT_H_

#include <string>

namespace lightcap::internal {

// The processors of the calling thread's affinity (taskset, cpusets), or fewer where a cgroup's
// quota (containers, systemd) grants less of them, rounded up; at least 1.
int cpu_count();

// The processors' worth of time that the cgroups of this process may take, of version 1 or 2 and of
// all their parents: 1.5 for "150000 100000" in cpu.max. Infinity where nothing is said. Files are
// looked for below `root`, which is for tests.
double cgroup_cpu_quota(const std::string& root = "");

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_CPU_COUNT_H_
