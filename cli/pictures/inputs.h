// The pictures that the arguments of a command mean, and how they are read.
#ifndef LIGHTCAP_CLI_PICTURES_INPUTS_H_
#define LIGHTCAP_CLI_PICTURES_INPUTS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace lightcap::internal::cli {

// The argument that stands for standard input.
inline constexpr const char* kStandardInput = "-";

// A picture's path; or, with an error, an argument that stands for none.
struct Input {
  std::string path;
  std::string error;
};

struct Inputs {
  std::vector<Input> pictures;
  // Notes for people on folders that were passed over: a line each.
  std::vector<std::string> notes;
};

// In the arguments' order: a folder is its pictures (by their names' endings, sorted), with
// `recursive` those of all folders inside it too, links to folders left out; a pattern of * ? [ ]
// that no file is called by is what it matches, sorted. Anything else is taken as a file. Throws
// Error(kUsage) where standard input is to be read twice.
Inputs expand_inputs(const std::vector<std::string>& arguments, bool recursive);

// The bytes of a file, a pipe or a device until its end; of standard input for kStandardInput.
// Throws Error(kInput) that names the path where it cannot be read or has more than max_bytes.
std::vector<uint8_t> read_input(const std::string& path, size_t max_bytes);
// `path` as messages name it.
std::string name_of_input(const std::string& path);

// Throws Error(kUsage) where `output` is one of these files, by whatever name: writing would
// replace it.
void refuse_input_as_output(const std::string& output, const std::vector<std::string>& inputs);

}  // namespace lightcap::internal::cli

#endif  // LIGHTCAP_CLI_PICTURES_INPUTS_H_
