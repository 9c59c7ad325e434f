#include "engine/runtime/cpu_count.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <thread>
#include <vector>

#include "engine/platform/platform.h"

namespace lightcap::internal {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// Empty where it can't be read. Files of the kernel's have no size to go by.
std::string read_text(const std::string& path) {
  constexpr size_t kMost = size_t{1} << 20;
  std::string text;
  const platform::File file = platform::open_to_read(path, platform::Pipes::kWait);
  if (!file) return text;
  uint8_t piece[4096];
  for (ptrdiff_t got; text.size() < kMost && (got = file.read(piece)) > 0;) {
    text.append(piece, piece + got);
  }
  return text;
}

// The text up to `separator`, which goes as well; all that is left where there is none.
std::string_view take(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

bool lists(std::string_view comma_separated, std::string_view wanted) {
  while (!comma_separated.empty()) {
    if (take(comma_separated, ',') == wanted) return true;
  }
  return false;
}

// A hierarchy of cgroups is to be seen here: the folder `root` of it at `mount_point`.
struct Mount {
  std::string_view root, mount_point;
  bool version_2;
};

// From /proc/self/mountinfo: "35 24 0:30 ROOT MOUNT_POINT OPTIONS ... - TYPE SOURCE OPTIONS".
std::vector<Mount> cgroup_mounts(std::string_view mountinfo) {
  std::vector<Mount> mounts;
  while (!mountinfo.empty()) {
    std::string_view line = take(mountinfo, '\n');
    for (int i = 0; i < 3; ++i) take(line, ' ');
    const std::string_view root = take(line, ' '), mount_point = take(line, ' ');
    const size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    line.remove_prefix(dash + 3);
    const std::string_view type = take(line, ' ');
    take(line, ' ');
    const bool version_2 = type == "cgroup2";
    if (version_2 || (type == "cgroup" && lists(line, "cpu"))) {
      mounts.push_back({root, mount_point, version_2});
    }
  }
  return mounts;
}

// From /proc/self/cgroup: "0::PATH" of version 2, "4:cpu,cpuacct:PATH" of version 1.
std::string_view cgroup_path(std::string_view cgroups, bool version_2) {
  while (!cgroups.empty()) {
    std::string_view line = take(cgroups, '\n');
    const std::string_view number = take(line, ':');
    const std::string_view controllers = take(line, ':');
    if (version_2 ? number == "0" && controllers.empty() : lists(controllers, "cpu")) return line;
  }
  return {};
}

double quotient(const std::string& quota, const std::string& period) {
  const double time = std::strtod(quota.c_str(), nullptr);  // 0 for "max", -1 for none in version 1
  const double each = std::strtod(period.c_str(), nullptr);
  return time > 0 && each > 0 ? time / each : kUnlimited;
}

double quota_of_folder(const std::string& folder, bool version_2) {
  if (!version_2) {
    return quotient(read_text(folder + "/cpu.cfs_quota_us"),
                    read_text(folder + "/cpu.cfs_period_us"));
  }
  const std::string text = read_text(folder + "/cpu.max");
  const size_t space = std::min(text.find(' '), text.size());
  return quotient(text.substr(0, space), text.substr(space));
}

// The least of a cgroup and its parents, as far as they can be seen.
double quota_of_mount(const std::string& prefix, const Mount& mount, std::string_view path) {
  if (mount.root != "/") {
    // A container may see its own group alone, and be told the path from the host's root.
    path = path.substr(0, mount.root.size()) == mount.root ? path.substr(mount.root.size())
                                                           : std::string_view();
  }
  if (path.find("/..") != std::string_view::npos) path = {};  // outside of what can be seen
  const std::string folder = prefix + std::string(mount.mount_point);
  double least = quota_of_folder(folder, mount.version_2);
  for (std::string below(path); below.size() > 1 && below[0] == '/';
       below.resize(below.rfind('/'))) {
    least = std::min(least, quota_of_folder(folder + below, mount.version_2));
  }
  return least;
}

int processor_count() {
  const int allowed = platform::allowed_processors();
  return allowed > 0 ? allowed : static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

double cgroup_cpu_quota(const std::string& root) {
  const std::string cgroups = read_text(root + "/proc/self/cgroup");
  const std::string mountinfo = read_text(root + "/proc/self/mountinfo");
  double least = kUnlimited;
  for (const Mount& mount : cgroup_mounts(mountinfo)) {
    least = std::min(least, quota_of_mount(root, mount, cgroup_path(cgroups, mount.version_2)));
  }
  return least;
}

int cpu_count() {
  const int cpus = std::max(processor_count(), 1);
  const double quota = std::ceil(cgroup_cpu_quota());
  return quota < cpus ? std::max(static_cast<int>(quota), 1) : cpus;
}

}  // namespace lightcap::internal
