// A file's bytes, read-only: mapped where possible, else read.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_MAPPED_FILE_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_MAPPED_FILE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace lightcap {

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

 private:
  MappedFile() = default;

  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  void* mapping_ = nullptr;              // null where the file was read
  std::unique_ptr<uint8_t[]> contents_;  // null where it is mapped
};

}  // namespace lightcap

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_MAPPED_FILE_H_
