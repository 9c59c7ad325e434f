// Which pictures the arguments of `lightcap caption` mean.
#ifndef LIGHTCAP_CLI_INPUTS_H_
#define LIGHTCAP_CLI_INPUTS_H_

#include <string>
#include <vector>

namespace lightcap::cli {

// A picture's path; or, with an error, an argument that stands for none.
struct Input {
  std::string path;
  std::string error;
};

// In the arguments' order: a folder is its pictures (by their names' endings, sorted, without those
// of folders inside it), and a pattern of * ? [ ] that no file is called by is what it matches,
// sorted. Anything else is taken as a file.
std::vector<Input> expand_inputs(const std::vector<std::string>& arguments);

}  // namespace lightcap::cli

#endif  // LIGHTCAP_CLI_INPUTS_H_
