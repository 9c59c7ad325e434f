#include "engine/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace lightcap {

// O_NONBLOCK: opening a FIFO must not wait for its writer.
RegularFile::RegularFile(const std::string& path, ErrorCode code)
    : path_(path), code_(code), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) fail(std::string("cannot open the file: ") + std::strerror(errno));
  struct stat info = {};
  const bool examined = fstat(descriptor_, &info) == 0;
  if (!examined || !S_ISREG(info.st_mode)) {
    const std::string what = examined
                                 ? "not a regular file"
                                 : std::string("cannot examine the file: ") + std::strerror(errno);
    close(descriptor_);  // the destructor does not run
    fail(what);
  }
  size_ = static_cast<size_t>(info.st_size);
}

RegularFile::~RegularFile() { close(descriptor_); }

void RegularFile::fail(const std::string& what) const { throw Error(code_, path_ + ": " + what); }

void RegularFile::read(uint8_t* out, size_t size) const {
  while (size > 0) {
    const ssize_t got = ::read(descriptor_, out, size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(std::string("cannot read the file: ") + std::strerror(errno));
    if (got == 0) fail("the file became shorter while it was read");
    out += got;
    size -= static_cast<size_t>(got);
  }
}

std::vector<uint8_t> read_file(const std::string& path, ErrorCode code, size_t max_bytes) {
  const RegularFile file(path, code);
  if (file.size() > max_bytes) {
    throw Error(code, path + ": the file has " + std::to_string(file.size()) +
                          " bytes, the limit is " + std::to_string(max_bytes));
  }
  std::vector<uint8_t> bytes(file.size());
  file.read(bytes.data(), bytes.size());
  return bytes;
}

}  // namespace lightcap
