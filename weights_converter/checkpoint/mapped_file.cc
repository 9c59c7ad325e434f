#include "weights_converter/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/runtime/error.h"

namespace lightcap {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::kCheckpoint, path + ": " + what);
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  // O_NONBLOCK: opening a pipe would wait for a writer; it is refused below.
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) fail(path, std::string("cannot open the file: ") + std::strerror(errno));
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) {
    fail(path, std::string("cannot look at the file: ") + std::strerror(errno));
  }
  if (S_ISDIR(status.st_mode)) {
    fail(path, "is a folder, expected a checkpoint file; name the file inside it");
  }
  if (!S_ISREG(status.st_mode)) {
    fail(path, "is not a regular file (a pipe or a device), expected a checkpoint file");
  }

  std::shared_ptr<MappedFile> file(new MappedFile);
  file->size_ = static_cast<size_t>(status.st_size);
  if (file->size_ == 0) return file;
  void* mapping = mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (mapping != MAP_FAILED) {
    file->mapping_ = mapping;
    file->data_ = static_cast<const uint8_t*>(mapping);
    return file;
  }
  file->contents_ = std::make_unique_for_overwrite<uint8_t[]>(file->size_);
  for (size_t done = 0; done < file->size_;) {
    const ssize_t got = read(fd.get(), file->contents_.get() + done, file->size_ - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path, std::string("cannot read the file: ") + std::strerror(errno));
    if (got == 0) fail(path, "the file became shorter while it was read");
    done += static_cast<size_t>(got);
  }
  file->data_ = file->contents_.get();
  return file;
}

void MappedFile::release_pages() const {
  if (mapping_ != nullptr) madvise(mapping_, size_, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (mapping_ != nullptr) munmap(mapping_, size_);
}

}  // namespace lightcap
