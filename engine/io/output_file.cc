#include "engine/io/output_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "engine/runtime/block.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"

namespace lightcap {
namespace {

namespace fs = std::filesystem;

// More writers of one path at a time than anyone has.
constexpr int kTemporaryNames = 64;

// Temporary names that a signal handler has to remove: it cannot lock, so each slot is taken and
// given back with one atomic operation. A file that finds no free slot is still removed by its
// destructor.
struct UnfinishedName {
  std::atomic<bool> taken = false;
  std::atomic<bool> named = false;  // folder and name are complete
  int folder = -1;
  std::array<char, 64> name = {};
};
std::array<UnfinishedName, 64> unfinished_names;

// Where the symbolic links at the end of `path` lead, whether a file is there or not.
std::string follow_links(const std::string& path) {
  constexpr int kMostLinks = 40;  // as Linux
  fs::path current = path;
  for (int i = 0; i < kMostLinks; ++i) {
    std::error_code error;
    const fs::path next = fs::read_symlink(current, error);
    if (error) return current.string();  // no link
    current = next.is_absolute() ? next : current.parent_path() / next;
  }
  errno = ELOOP;
  return "";
}

// FNV-1a: a name of a fixed length for each path's last part, however long that is.
uint64_t hash_of(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

OutputFile::OutputFile(const std::string& path) : path_(path), target_(path) {
  struct stat info = {};
  const bool exists = stat(path.c_str(), &info) == 0;
  if (exists && !S_ISREG(info.st_mode)) {
    throw Error(ErrorCode::kOutput,
                printable(path_) + ": cannot write there: it exists and is not a regular file");
  }
  if (!exists && errno == ELOOP) fail("cannot write there");
  // Renaming over a link would replace the link, not the file that it stands for.
  target_ = follow_links(path);
  if (target_.empty()) fail("cannot write there");
  // Renaming asks for the folder's permission alone; replacing what is write-protected would
  // surprise its owner.
  if (exists && faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) {
    fail("the file that is there may not be written");
  }
  try {
    open_folder();
    const mode_t mode = exists ? info.st_mode & 0777 : 0666;
    for (int i = 0; i < kTemporaryNames && !remove_stale(temporary_name(i)); ++i) {
    }
    if (!open_nameless(mode)) open_named(mode);
    // The mask of the process applies to new files, not to those replaced.
    if (exists && fchmod(file_, mode) != 0) fail("cannot set its permissions");
  } catch (...) {
    close_all();
    throw;
  }
}

OutputFile::~OutputFile() { close_all(); }

void OutputFile::close_all() noexcept {
  if (!temporary_.empty()) unlinkat(folder_, temporary_.c_str(), 0);
  release_name();
  if (file_ >= 0) close(file_);
  if (folder_ >= 0) close(folder_);
  file_ = folder_ = -1;
}

void OutputFile::fail(const char* what) const {
  const int reason = errno;
  throw Error(ErrorCode::kOutput, printable(path_) + ": " + what + ": " + std::strerror(reason));
}

void OutputFile::open_folder() {
  const fs::path target = target_;
  name_ = target.filename().string();
  const std::string folder = target.parent_path().string();
  folder_ = open(folder.empty() ? "." : folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder_ < 0) fail("cannot create a file in its folder");
  if (name_.empty() || name_ == "." || name_ == "..") {
    errno = EISDIR;
    fail("cannot write there");
  }
}

std::string OutputFile::temporary_name(int index) const {
  char name[64];
  std::snprintf(name, sizeof name, ".lightcap-%016llx-%d.tmp",
                static_cast<unsigned long long>(hash_of(name_)), index);
  return name;
}

// Removes what a killed process left under `name`: one that lives holds a lock on it. True where
// nothing had that name.
bool OutputFile::remove_stale(const std::string& name) const {
  const int file = openat(folder_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return errno == ENOENT;
  struct stat held = {}, named = {};
  const bool stale = fstat(file, &held) == 0 && S_ISREG(held.st_mode) && held.st_uid == geteuid() &&
                     flock(file, LOCK_EX | LOCK_NB) == 0 &&
                     fstatat(folder_, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
                     same_file(held, named);
  if (stale) unlinkat(folder_, name.c_str(), 0);
  close(file);
  return false;
}

// A file without a name vanishes with the process, however that ends. False where the file system
// has none, or no way to name one later.
bool OutputFile::open_nameless(mode_t mode) {
  file_ = openat(folder_, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
  if (file_ < 0) return false;
  const std::string handle = "/proc/self/fd/" + std::to_string(file_);
  if (access(handle.c_str(), F_OK) == 0) {
    flock(file_, LOCK_EX | LOCK_NB);
    return true;
  }
  close(file_);
  file_ = -1;
  return false;
}

void OutputFile::open_named(mode_t mode) {
  for (int i = 0; i < kTemporaryNames; ++i) {
    std::string name = temporary_name(i);
    file_ = openat(folder_, name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, mode);
    if (file_ < 0 && errno == EEXIST) continue;
    if (file_ < 0) fail("cannot create a file in its folder");
    // Until it is locked, another writer of this path can take it for a stale one and remove it.
    struct stat held = {}, named = {};
    errno = 0;
    if (flock(file_, LOCK_EX | LOCK_NB) == 0 && fstat(file_, &held) == 0 &&
        fstatat(folder_, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        same_file(held, named)) {
      return hold_name(std::move(name));
    }
    // Some network file systems have no locks: then nothing there is ever taken for stale.
    if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS)
      return hold_name(std::move(name));
    close(file_);
    file_ = -1;
  }
  errno = EEXIST;
  fail("cannot create a file in its folder");
}

void OutputFile::hold_name(std::string name) {
  temporary_ = std::move(name);
  for (size_t i = 0; i < unfinished_names.size(); ++i) {
    UnfinishedName& slot = unfinished_names[i];
    if (slot.taken.exchange(true)) continue;
    slot.folder = folder_;
    std::snprintf(slot.name.data(), slot.name.size(), "%s", temporary_.c_str());
    slot.named.store(true);
    slot_ = static_cast<int>(i);
    return;
  }
}

void OutputFile::release_name() noexcept {
  temporary_.clear();
  if (slot_ < 0) return;
  UnfinishedName& slot = unfinished_names[static_cast<size_t>(slot_)];
  slot.named.store(false);
  slot.taken.store(false);
  slot_ = -1;
}

void OutputFile::remove_unfinished() noexcept {
  const int reason = errno;
  for (const UnfinishedName& slot : unfinished_names) {
    if (slot.named.load()) unlinkat(slot.folder, slot.name.data(), 0);
  }
  errno = reason;
}

void OutputFile::reserve(uint64_t bytes) {
  if (bytes == 0) return;
  int result;
  do {
    result = fallocate(file_, 0, 0, static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result == 0) {
    reserved_ = bytes;
  } else if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO) {
    throw Error(ErrorCode::kOutput, printable(path_) + ": cannot write: " + std::strerror(errno) +
                                        "; it takes " + std::to_string(bytes) + " bytes");
  }
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
    if (written == 0) errno = EIO;
    if (written <= 0) fail("cannot write");
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
}

// A name cannot be given to a file where another has it: the file gets a temporary one first.
void OutputFile::give_temporary_name() {
  const std::string handle = "/proc/self/fd/" + std::to_string(file_);
  for (int i = 0; i < kTemporaryNames; ++i) {
    std::string name = temporary_name(i);
    if (linkat(AT_FDCWD, handle.c_str(), folder_, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      return hold_name(std::move(name));
    }
    if (errno != EEXIST) break;
  }
  fail("cannot create a file in its folder");
}

void OutputFile::publish() {
  flush();
  if (reserved_ > written_ && ftruncate(file_, static_cast<off_t>(written_)) != 0) {
    fail("cannot cut it to its size");
  }
  // Some network file systems report a full disk only now.
  if (fsync(file_) != 0) fail("cannot write to the disk");
  if (temporary_.empty()) give_temporary_name();
  if (renameat(folder_, temporary_.c_str(), folder_, name_.c_str()) != 0) {
    fail("cannot rename to it");
  }
  release_name();
  const int file = file_;
  file_ = -1;
  if (close(file) != 0) fail("cannot write");
  // The name is safe once its folder is on the disk; where folders cannot be opened, the file is
  // there all the same.
  const int folder = openat(folder_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  fsync(folder);
  close(folder);
}

}  // namespace lightcap
