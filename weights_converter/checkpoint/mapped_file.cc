#include "weights_converter/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "engine/runtime/error.h"
#include "engine/text/printable.h"

namespace lightcap {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::kCheckpoint, printable(path) + ": " + what);
}

// The mapped files, for a signal handler, which cannot lock. A file that finds no free place is not
// named there.
std::array<std::atomic<const MappedFile*>, 256> mapped_files;

void remember(const MappedFile* file) {
  for (auto& place : mapped_files) {
    const MappedFile* none = nullptr;
    if (place.compare_exchange_strong(none, file)) return;
  }
}

void forget(const MappedFile* file) {
  for (auto& place : mapped_files) {
    const MappedFile* expected = file;
    if (place.compare_exchange_strong(expected, nullptr)) return;
  }
}

bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  std::shared_ptr<MappedFile> file(new MappedFile(path));
  // O_NONBLOCK: opening a pipe would wait for a writer; it is refused below.
  file->file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file->file_ < 0) fail(path, std::string("cannot open the file: ") + std::strerror(errno));
  if (fstat(file->file_, &file->status_) != 0) {
    fail(path, std::string("cannot look at the file: ") + std::strerror(errno));
  }
  const mode_t mode = file->status_.st_mode;
  if (S_ISDIR(mode)) {
    fail(path, "is a folder, expected a checkpoint file; name the file inside it");
  }
  if (!S_ISREG(mode)) {
    fail(path, "is not a regular file (a pipe or a device), expected a checkpoint file");
  }
  file->map();
  return file;
}

void MappedFile::map() {
  size_ = static_cast<size_t>(status_.st_size);
  if (size_ == 0) return;
  void* mapping = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_, 0);
  if (mapping != MAP_FAILED) {
    mapping_ = mapping;
    data_ = static_cast<const uint8_t*>(mapping);
    remember(this);
    return;
  }
  contents_ = std::make_unique_for_overwrite<uint8_t[]>(size_);
  size_t done = 0;
  read([&](std::span<const uint8_t> piece) {
    std::memcpy(contents_.get() + done, piece.data(), piece.size());
    done += piece.size();
  });
  data_ = contents_.get();
}

void MappedFile::read(const std::function<void(std::span<const uint8_t>)>& consume) const {
  const auto size = static_cast<uint64_t>(status_.st_size);
  std::vector<uint8_t> piece(std::min<uint64_t>(size, uint64_t{1} << 18));
  for (uint64_t at = 0; at < size;) {
    const size_t wanted = std::min<uint64_t>(piece.size(), size - at);
    const ssize_t got = pread(file_, piece.data(), wanted, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path_, std::string("cannot read the file: ") + std::strerror(errno));
    if (got == 0) fail(path_, "the file became shorter while it was read");
    consume(std::span(piece).first(static_cast<size_t>(got)));
    at += static_cast<uint64_t>(got);
  }
}

void MappedFile::check_unchanged() const {
  struct stat now = {};
  if (fstat(file_, &now) != 0) {
    fail(path_, std::string("cannot look at the file: ") + std::strerror(errno));
  }
  if (now.st_size != status_.st_size || !same_time(now.st_mtim, status_.st_mtim)) {
    fail(path_,
         "the file was changed while it was read; wait until it is complete, then convert "
         "it again");
  }
}

void MappedFile::release_pages() const {
  if (mapping_ != nullptr) madvise(mapping_, size_, MADV_DONTNEED);
}

const char* MappedFile::path_of(const void* address) noexcept {
  const auto* byte = static_cast<const uint8_t*>(address);
  for (const auto& place : mapped_files) {
    const MappedFile* file = place.load();
    if (file == nullptr || byte < file->data_) continue;
    // The last page is mapped as a whole.
    constexpr size_t kLargestPage = size_t{1} << 16;
    if (static_cast<size_t>(byte - file->data_) < file->size_ + kLargestPage) {
      return file->path_.c_str();
    }
  }
  return nullptr;
}

MappedFile::~MappedFile() {
  forget(this);
  if (mapping_ != nullptr) munmap(mapping_, size_);
  if (file_ >= 0) close(file_);
}

}  // namespace lightcap
