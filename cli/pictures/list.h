// Lists of pictures: read from files, and divided among the machines of a cluster.
#ifndef LIGHTCAP_CLI_PICTURES_LIST_H_
#define LIGHTCAP_CLI_PICTURES_LIST_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "cli/pictures/inputs.h"

namespace lightcap::internal::cli {

// The pictures that a file names (kStandardInput: that standard input does), one a line, or with
// `zeros` one before each NUL. Names are taken as they are: nothing in them is a pattern, and a
// folder is an error of its own. Empty ones are left out. Throws Error(kInput) where the list
// cannot be read, names nothing that a path can be, or has more than 4 GiB.
std::vector<Input> read_list(const std::string& path, bool zeros);

// The part `index` (from 1) of `count`.
struct Shard {
  size_t index = 1, count = 1;
};

// "I/N". Throws Error(kUsage).
Shard parse_shard(const std::string& text);

// Drops the pictures of other shards. A path belongs to the same one whatever else is in the list,
// so that a folder which grows between runs loses and doubles nothing; parts are of about the same
// size.
void keep_shard(const Shard& shard, std::vector<Input>& pictures);

}  // namespace lightcap::internal::cli

#endif  // LIGHTCAP_CLI_PICTURES_LIST_H_
