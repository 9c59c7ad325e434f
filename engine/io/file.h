// Files as bytes.
#ifndef LIGHTCAP_ENGINE_IO_FILE_H_
#define LIGHTCAP_ENGINE_IO_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/platform/platform.h"
#include "engine/runtime/error.h"
#include "engine/runtime/interruption.h"

namespace lightcap::internal {

// A regular file, opened for reading. All throw Error(code) that names the path and why.
class RegularFile {
 public:
  RegularFile(const std::string& path, ErrorCode code);

  const platform::File& file() const { return file_; }
  size_t size() const { return size_; }
  // The next `size` bytes; fewer, because the file became shorter meanwhile, are an error.
  void read(uint8_t* out, size_t size) const;

 private:
  [[noreturn]] void fail(const std::string& what) const;

  std::string path_;
  ErrorCode code_;
  platform::File file_;
  size_t size_ = 0;
};

// A whole file of at most max_bytes. Throws as RegularFile does, and Error(kCancelled) if
// `interruption`, which may be null, says so.
std::vector<uint8_t> read_file(const std::string& path, ErrorCode code,
                               size_t max_bytes = size_t{1} << 30,
                               const Interruption* interruption = nullptr);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IO_FILE_H_
