#include "engine/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace lightcap {
namespace {

class Descriptor {
 public:
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  explicit Descriptor(const std::string& path)
      : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

std::vector<uint8_t> read_file(const std::string& path, ErrorCode code, size_t max_bytes) {
  const auto fail = [&](const std::string& what) { throw Error(code, path + ": " + what); };
  const Descriptor file(path);
  if (file.get() < 0) fail(std::string("cannot open the file: ") + std::strerror(errno));
  struct stat info = {};
  if (fstat(file.get(), &info) != 0)
    fail(std::string("cannot examine the file: ") + std::strerror(errno));
  if (!S_ISREG(info.st_mode)) fail("not a regular file");
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size > max_bytes) {
    fail("the file has " + std::to_string(size) + " bytes, the limit is " +
         std::to_string(max_bytes));
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = read(file.get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(std::string("cannot read the file: ") + std::strerror(errno));
    if (got == 0) break;  // it became shorter meanwhile
    done += static_cast<size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace lightcap
