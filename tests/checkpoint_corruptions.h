// Every way that we know for a checkpoint to be wrong, by name, and the words that its error has to
// say. A row is a whole file; what is right about it is built by tests/checkpoint_files.h. Tests
// read these files, and fuzz targets begin with them.
#ifndef LIGHTCAP_TESTS_CHECKPOINT_CORRUPTIONS_H_
#define LIGHTCAP_TESTS_CHECKPOINT_CORRUPTIONS_H_

#include <string>
#include <vector>

namespace lightcap::internal::testing {

struct Corruption {
  const char* name;
  std::string file;
  const char* words;  // of the error
};

std::vector<Corruption> all_corruptions();

// The sound files that are damaged above, one of each format and form: a zip, one with zip64
// records, a legacy stream, a tar, a safetensors file, a zip whose tensor is transposed.
std::vector<std::string> sound_checkpoints();

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_CHECKPOINT_CORRUPTIONS_H_
