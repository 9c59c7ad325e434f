// An input file's bytes, read-only: mapped where possible, else read.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_MAPPED_FILE_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_MAPPED_FILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "engine/platform/platform.h"

namespace lightcap::internal {

class MappedFile {
 public:
  // Throws Error(kCheckpoint) when the file cannot be opened or is not a regular file.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const uint8_t> bytes() const { return {data_, size_}; }
  // A mapped page counts as the process's memory from the first look at it; this ends that. Nothing
  // changes for who looks again.
  void release_pages() const;

  const std::string& path() const { return path_; }
  // The same under whatever name.
  const platform::FileId& id() const { return status_.id; }
  // Throws Error(kCheckpoint) where the file has another size or time of change than when it was
  // opened: its bytes are no longer those of one file.
  void check_unchanged() const;
  // Gives the file's bytes piece by piece without mapping them. Throws Error(kCheckpoint) where
  // they cannot be read or are fewer than when it was opened.
  void read(const std::function<void(std::span<const uint8_t>)>& consume) const;

  // The path of the file that is mapped at `address`, or null. For signal handlers:
  // async-signal-safe. A mapped file that became shorter raises SIGBUS where its bytes are missing.
  static const char* path_of(const void* address) noexcept;

 private:
  explicit MappedFile(const std::string& path) : path_(path) {}
  void map();
  platform::FileStatus look_at_file() const;

  std::string path_;
  platform::File file_;
  platform::FileStatus status_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  platform::Mapping mapping_;            // none where the file was read
  std::unique_ptr<uint8_t[]> contents_;  // null where it is mapped
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_MAPPED_FILE_H_
