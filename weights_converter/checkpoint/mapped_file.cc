#include "weights_converter/checkpoint/mapped_file.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "engine/runtime/error.h"
#include "engine/text/printable.h"

namespace lightcap::internal {
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

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  std::shared_ptr<MappedFile> file(new MappedFile(path));
  // A pipe is refused below.
  file->file_ = platform::open_to_read(path, platform::Pipes::kDoNotWait);
  if (!file->file_) fail(path, std::string("cannot open the file: ") + std::strerror(errno));
  file->status_ = file->look_at_file();
  if (file->status_.kind == platform::FileKind::kFolder) {
    fail(path, "is a folder, expected a checkpoint file; name the file inside it");
  }
  if (file->status_.kind != platform::FileKind::kRegular) {
    fail(path, "is not a regular file (a pipe or a device), expected a checkpoint file");
  }
  file->map();
  return file;
}

platform::FileStatus MappedFile::look_at_file() const {
  const auto status = file_.status();
  if (!status) fail(path_, std::string("cannot look at the file: ") + std::strerror(errno));
  return *status;
}

void MappedFile::map() {
  size_ = static_cast<size_t>(status_.size);
  if (size_ == 0) return;
  mapping_ = platform::Mapping(file_, size_);
  if (mapping_) {
    data_ = mapping_.data();
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
  const uint64_t size = status_.size;
  std::vector<uint8_t> piece(std::min<uint64_t>(size, uint64_t{1} << 18));
  for (uint64_t at = 0; at < size;) {
    const size_t wanted = std::min<uint64_t>(piece.size(), size - at);
    const ptrdiff_t got = file_.read_at(at, std::span(piece).first(wanted));
    if (got < 0) fail(path_, std::string("cannot read the file: ") + std::strerror(errno));
    if (got == 0) fail(path_, "the file became shorter while it was read");
    consume(std::span(piece).first(static_cast<size_t>(got)));
    at += static_cast<uint64_t>(got);
  }
}

void MappedFile::check_unchanged() const {
  const platform::FileStatus now = look_at_file();
  if (now.size != status_.size || now.changed != status_.changed) {
    fail(path_,
         "the file was changed while it was read; wait until it is complete, then convert "
         "it again");
  }
}

void MappedFile::release_pages() const {
  if (mapping_) platform::give_back(data_, size_);
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

MappedFile::~MappedFile() { forget(this); }

}  // namespace lightcap::internal
