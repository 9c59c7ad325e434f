#include "engine/io/output_file.h"

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
#include "engine/text/fnv1a.h"
#include "engine/text/printable.h"

namespace lightcap::internal {
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
  platform::Handle folder = platform::kNoHandle;
  std::array<char, 64> name = {};
};
std::array<UnfinishedName, 64> unfinished_names;

// The end of the chain of symbolic links at `path`, whether a file is there or not.
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

// The folder of a path whose links have been followed.
std::string folder_of(const fs::path& path) {
  const fs::path folder = path.parent_path();
  return folder.empty() ? "." : folder.string();
}

}  // namespace

bool is_same_output(const std::string& a, const std::string& b) {
  const fs::path to_a = follow_links(a), to_b = follow_links(b);
  if (to_a.filename().empty() || to_a.filename() != to_b.filename()) return false;
  const auto folder_a = platform::status(folder_of(to_a));
  const auto folder_b = platform::status(folder_of(to_b));
  return folder_a && folder_b && folder_a->id == folder_b->id;
}

OutputFile::OutputFile(const std::string& path) : path_(path), target_(path) {
  const auto old = platform::status(path);
  if (old && old->kind != platform::FileKind::kRegular) {
    throw Error(ErrorCode::kOutput,
                printable(path_) + ": cannot write there: it exists and is not a regular file");
  }
  if (!old && errno == ELOOP) fail("cannot write there");
  // Renaming over a link would replace the link, not the file that it stands for.
  target_ = follow_links(path);
  if (target_.empty()) fail("cannot write there");
  // Renaming asks for the folder's permission alone; replacing what is write-protected would
  // surprise its owner.
  if (old && !platform::may_write(path)) fail("the file that is there may not be written");
  try {
    open_folder();
    const uint32_t permissions = old ? old->permissions : 0666;
    for (int i = 0; i < kTemporaryNames && !remove_stale(temporary_name(i)); ++i) {
    }
    if (!open_nameless(permissions)) open_named(permissions);
    // The mask of the process applies to new files, not to those replaced.
    if (old && !file_.set_permissions(permissions)) fail("cannot set its permissions");
  } catch (...) {
    remove_temporary();
    throw;
  }
}

OutputFile::~OutputFile() { remove_temporary(); }

void OutputFile::remove_temporary() noexcept {
  if (!temporary_.empty()) platform::Folder::remove(folder_.handle(), temporary_.c_str());
  release_name();
}

void OutputFile::fail(const char* what) const {
  const int reason = errno;
  throw Error(ErrorCode::kOutput, printable(path_) + ": " + what + ": " + std::strerror(reason));
}

void OutputFile::open_folder() {
  const fs::path target = target_;
  name_ = target.filename().string();
  folder_ = platform::Folder(target.parent_path().string());
  if (!folder_) fail("cannot create a file in its folder");
  if (name_.empty() || name_ == "." || name_ == "..") {
    errno = EISDIR;
    fail("cannot write there");
  }
}

std::string OutputFile::temporary_name(int index) const {
  char name[64];
  std::snprintf(name, sizeof name, ".lightcap-%016llx-%d.tmp",
                static_cast<unsigned long long>(fnv1a(name_)), index);
  return name;
}

// Returns true if `name` still means the file that is open.
bool OutputFile::has_name(const platform::File& file, const std::string& name) const {
  const auto held = file.status();
  if (!held) return false;
  const auto named = folder_.status(name);
  return named && named->id == held->id;
}

// Removes what a killed process left under `name`: one that lives holds a lock on it. True where
// nothing had that name.
bool OutputFile::remove_stale(const std::string& name) const {
  const platform::File file = folder_.open_to_read(name);
  if (!file) return errno == ENOENT;
  const auto status = file.status();
  if (status && status->kind == platform::FileKind::kRegular && status->is_ours && file.lock() &&
      has_name(file, name)) {
    platform::Folder::remove(folder_.handle(), name.c_str());
  }
  return false;
}

// A file without a name vanishes with the process, however that ends. False where the file system
// has none, or no way to name one later.
bool OutputFile::open_nameless(uint32_t permissions) {
  file_ = folder_.create_unnamed(permissions);
  if (!file_) return false;
  file_.lock();
  return true;
}

void OutputFile::open_named(uint32_t permissions) {
  for (int i = 0; i < kTemporaryNames; ++i) {
    std::string name = temporary_name(i);
    file_ = folder_.create(name, permissions);
    if (!file_ && errno == EEXIST) continue;
    if (!file_) fail("cannot create a file in its folder");
    // Until it is locked, another writer of this path can take it for a stale one and remove it.
    errno = 0;
    if (file_.lock() && has_name(file_, name)) return hold_name(std::move(name));
    // Some network file systems have no locks: then nothing there is ever taken for stale.
    if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS)
      return hold_name(std::move(name));
    file_ = platform::File();
  }
  errno = EEXIST;
  fail("cannot create a file in its folder");
}

void OutputFile::hold_name(std::string name) {
  temporary_ = std::move(name);
  for (size_t i = 0; i < unfinished_names.size(); ++i) {
    UnfinishedName& slot = unfinished_names[i];
    if (slot.taken.exchange(true)) continue;
    slot.folder = folder_.handle();
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
    if (slot.named.load()) platform::Folder::remove(slot.folder, slot.name.data());
  }
  errno = reason;
}

void OutputFile::reserve(uint64_t bytes) {
  if (bytes == 0) return;
  if (file_.reserve(bytes)) {
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
  if (!file_.write_at(offset, bytes)) fail("cannot write");
}

// A name cannot be given to a file where another has it: the file gets a temporary one first.
void OutputFile::give_temporary_name() {
  for (int i = 0; i < kTemporaryNames; ++i) {
    std::string name = temporary_name(i);
    if (folder_.give_name(file_, name)) return hold_name(std::move(name));
    if (errno != EEXIST) break;
  }
  fail("cannot create a file in its folder");
}

void OutputFile::publish() {
  flush();
  if (reserved_ > written_ && !file_.truncate(written_)) fail("cannot cut it to its size");
  // Some network file systems report a full disk only now.
  if (!file_.sync()) fail("cannot write to the disk");
  if (temporary_.empty()) give_temporary_name();
  if (!folder_.rename(temporary_, name_)) fail("cannot rename to it");
  release_name();
  if (!file_.close()) fail("cannot write");
  // The name is safe once its folder is on the disk; where that cannot be had, the file is there
  // all the same.
  folder_.sync();
}

}  // namespace lightcap::internal
