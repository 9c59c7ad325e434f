#include "engine/io/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "engine/runtime/block.h"
#include "engine/runtime/error.h"

namespace lightcap {
namespace {

namespace fs = std::filesystem;

// The permissions that a file made by open() would have: mkstemp's are the owner's alone.
mode_t usual_permissions() {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

}  // namespace

OutputFile::OutputFile(const std::string& path) : path_(path), target_(path) {
  std::error_code ignored;
  // Renaming over a link would replace the link, over a device or pipe the device or pipe.
  const fs::path resolved = fs::canonical(path, ignored);
  if (!ignored) target_ = resolved.string();
  struct stat info = {};
  const bool exists = stat(target_.c_str(), &info) == 0;
  if (exists && !S_ISREG(info.st_mode)) {
    throw Error(ErrorCode::kOutput,
                path_ + ": cannot write there: it exists and is not a regular file");
  }
  temporary_ = target_ + ".XXXXXX";
  file_ = mkstemp(temporary_.data());
  if (file_ < 0) {
    temporary_.clear();
    fail("cannot create a file in its folder");
  }
  fcntl(file_, F_SETFD, FD_CLOEXEC);
  fchmod(file_, exists ? info.st_mode & 07777 : usual_permissions());
}

OutputFile::~OutputFile() {
  if (file_ >= 0) close(file_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void OutputFile::fail(const char* what) const {
  throw Error(ErrorCode::kOutput, path_ + ": " + what + ": " + std::strerror(errno));
}

void OutputFile::append(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), kHugePage - pending_.size()));
    pending_.insert(pending_.end(), part.begin(), part.end());
    bytes = bytes.subspan(part.size());
    if (pending_.size() == kHugePage) flush();
  }
}

void OutputFile::flush() {
  put(written_, pending_);
  written_ += pending_.size();
  pending_.clear();
}

void OutputFile::write_at(uint64_t offset, std::span<const uint8_t> bytes) {
  flush();
  put(offset, bytes);
}

void OutputFile::put(uint64_t offset, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("cannot write");
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
}

void OutputFile::publish() {
  flush();
  // Some network file systems report a full disk only now.
  if (fsync(file_) != 0) fail("cannot write to the disk");
  const int file = file_;
  file_ = -1;
  if (close(file) != 0) fail("cannot write");
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot rename to it");
  temporary_.clear();
  // The name is safe once its folder is on the disk; where folders cannot be opened, the file is
  // there all the same.
  const std::string folder = fs::path(target_).parent_path().string();
  const int handle = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
  if (handle < 0) return;
  fsync(handle);
  close(handle);
}

}  // namespace lightcap
