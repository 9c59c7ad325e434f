#include "weights_converter/inputs.h"

#include <sys/stat.h>

#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "weights_converter/checkpoint/mapped_file.h"

namespace lightcap {
namespace {

bool look_at(const std::string& path, struct stat& status) {
  return !path.empty() && stat(path.c_str(), &status) == 0;
}

bool exists(const std::string& path) {
  struct stat status = {};
  return look_at(path, status);
}

[[noreturn]] void refuse(const std::string& output, const std::string& input) {
  throw Error(ErrorCode::kUsage, "-o " + printable(output) + " is also an input, " +
                                     printable(input) + ": give the model a name of its own");
}

}  // namespace

CheckpointPath split_checkpoint_path(const std::string& path) {
  const size_t colon = path.rfind(':');
  if (colon == std::string::npos || exists(path) || !exists(path.substr(0, colon))) {
    return {path, ""};
  }
  return {path.substr(0, colon), path.substr(colon + 1)};
}

void refuse_overwriting(const std::string& output, const std::vector<std::string>& inputs) {
  struct stat written = {}, read = {};
  if (!look_at(output, written)) return;
  for (const std::string& input : inputs) {
    if (!look_at(input, read)) continue;
    if (written.st_dev == read.st_dev && written.st_ino == read.st_ino) refuse(output, input);
  }
}

void refuse_overwriting(const std::string& output, const Checkpoint& checkpoint) {
  struct stat written = {};
  if (!look_at(output, written)) return;
  for (const auto& file : checkpoint.owners) {
    if (file->is(written)) refuse(output, file->path());
  }
}

}  // namespace lightcap
