// A zip archive's table of contents, as PyTorch, zip programs and Python write it: zip64, data
// descriptors, stored or deflated entries. Entries' bytes stay where they are until read.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_ZIP_ARCHIVE_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_ZIP_ARCHIVE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lightcap::internal {

struct ZipEntry {
  std::string_view name;  // in the file's bytes
  std::span<const uint8_t> packed;
  uint64_t size = 0;  // unpacked
  uint32_t crc32 = 0;
  uint16_t method = 0;

  bool is_deflated() const { return method != 0; }  // the two methods that the archive lets pass
};

class ZipArchive {
 public:
  // `file` outlives the archive. Throws Error(kCheckpoint) for anything but a sound archive:
  // entries inside the file and beside each other, names unique and equal in both headers.
  explicit ZipArchive(std::span<const uint8_t> file);

  const std::vector<ZipEntry>& entries() const { return entries_; }
  // Null where there is none.
  const ZipEntry* find(std::string_view name) const;

 private:
  struct Directory {
    uint64_t offset, size, count;
  };
  Directory find_directory() const;
  Directory zip64_directory(size_t end_record) const;
  void read_entry(class ByteReader& directory);
  void locate(ZipEntry& entry, uint64_t header_offset, uint64_t packed_size);
  void check_overlaps();

  std::span<const uint8_t> file_;
  std::vector<ZipEntry> entries_;
  std::map<std::string_view, size_t> by_name_;
};

// An entry's bytes: a view of the file, or `owner`'s memory where it was deflated. Throws
// Error(kCheckpoint) when the entry is damaged; a recorded CRC-32 of 0 is not checked, because
// PyTorch writes that when it is told not to compute it.
struct ZipBytes {
  std::span<const uint8_t> bytes;
  std::shared_ptr<const uint8_t[]> owner;
};
ZipBytes read_zip_entry(const ZipEntry& entry);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_ZIP_ARCHIVE_H_
