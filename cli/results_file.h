// A file of results that outlives its program, however that ends.
#ifndef LIGHTCAP_CLI_RESULTS_FILE_H_
#define LIGHTCAP_CLI_RESULTS_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cli/pictures/inputs.h"
#include "engine/platform/platform.h"

namespace lightcap::internal::cli {

// The treatment of a file that is there already.
enum class Existing { kRefuse, kResume, kReplace };

// JSON lines, one a picture, each written whole behind the others: a program that is killed leaves
// whole lines and at most the beginning of one, which resuming cuts off. One program at a time
// writes a file, where the file system has locks. All throw Error(kOutput) that names the path.
class ResultsFile {
 public:
  // Throws Error(kUsage) as well, where a file is there that is not to be touched, or one to resume
  // that holds other things than these lines: nothing of it is changed then.
  ResultsFile(const std::string& path, Existing existing);

  // Drops the pictures that have a line already; of a path that is given several times, as many as
  // there are lines. Returns how many.
  size_t drop_done(std::vector<Input>& pictures);

  void append(std::string_view line) const;
  // Returns once all lines are on the disk.
  void close();

 private:
  [[noreturn]] void fail(const char* what) const;
  void read_lines();
  // The lines that `text` begins with, which are counted; their bytes.
  size_t take_lines(std::string_view text);
  bool take_line(std::string_view line);
  void cut(uint64_t size, std::string_view rest);

  std::string path_;
  platform::File file_;
  std::unordered_map<std::string, size_t> done_;  // lines by their "image"
};

}  // namespace lightcap::internal::cli

#endif  // LIGHTCAP_CLI_RESULTS_FILE_H_
