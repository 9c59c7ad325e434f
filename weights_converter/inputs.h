// The files that a conversion reads, as the user names them.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_INPUTS_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_INPUTS_H_

#include <string>
#include <vector>

#include "weights_converter/checkpoint/checkpoint.h"

namespace lightcap::internal {

// A checkpoint, and what of it to take: "FILE" or "FILE:state_dict.student".
struct CheckpointPath {
  std::string file;
  std::string inside;  // a dotted path in the file; empty for the whole
};

// A colon separates the two only where no file has the whole name and one has what stands before
// the last colon.
CheckpointPath split_checkpoint_path(const std::string& path);

// Throw Error(kUsage) where `output` is one of the inputs, under whatever name (compared by device
// and inode): writing it would destroy that.
void refuse_overwriting(const std::string& output, const std::vector<std::string>& inputs);
void refuse_overwriting(const std::string& output, const Checkpoint& checkpoint);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_INPUTS_H_
