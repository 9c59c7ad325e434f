#include "weights_converter/inputs.h"

#include "engine/platform/platform.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "weights_converter/checkpoint/mapped_file.h"

namespace lightcap::internal {
namespace {

bool exists(const std::string& path) { return platform::status(path).has_value(); }

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
  const auto written = platform::status(output);
  if (!written) return;
  for (const std::string& input : inputs) {
    const auto read = platform::status(input);
    if (read && read->id == written->id) refuse(output, input);
  }
}

void refuse_overwriting(const std::string& output, const Checkpoint& checkpoint) {
  const auto written = platform::status(output);
  if (!written) return;
  for (const auto& file : checkpoint.owners) {
    if (file->id() == written->id) refuse(output, file->path());
  }
}

}  // namespace lightcap::internal
