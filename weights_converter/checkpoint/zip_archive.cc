#include "weights_converter/checkpoint/zip_archive.h"

#include <algorithm>

#include "engine/io/crc32.h"
#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/inflate.h"

namespace lightcap::internal {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kEntrySignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kZip64EndSignature = 0x06064b50;
constexpr uint32_t kZip64LocatorSignature = 0x07064b50;
constexpr size_t kEndSize = 22, kZip64LocatorSize = 20, kEntryMinSize = 46;
constexpr uint16_t kStored = 0, kDeflated = 8;

// Deflate cannot do better than 258 bytes from 2 bits.
constexpr uint64_t kMaxDeflateRatio = 1032;

std::string entry_text(const ZipEntry& entry) { return "zip entry '" + excerpt(entry.name) + "'"; }

// The 64-bit values that stand in the zip64 extra field for those that are all ones elsewhere.
void apply_zip64(std::span<const uint8_t> extra, std::span<uint64_t* const> values,
                 const ZipEntry& entry) {
  constexpr uint16_t kZip64Id = 1;
  constexpr uint64_t kInExtra = 0xFFFFFFFF;
  const bool wanted =
      std::any_of(values.begin(), values.end(), [](const uint64_t* v) { return *v == kInExtra; });
  if (!wanted) return;
  ByteReader reader(extra, "a zip entry's extra field");
  while (reader.left() >= 4) {
    const uint16_t id = reader.u16("its id");
    ByteReader field(reader.take(reader.u16("its size"), "its data"), "a zip64 extra field");
    if (id != kZip64Id) continue;
    for (uint64_t* value : values) {
      if (*value == kInExtra) *value = field.u64("a 64-bit size");
    }
    return;
  }
  fail_checkpoint(entry_text(entry) + " says that its size is in a zip64 field, which is missing");
}

}  // namespace

ZipArchive::ZipArchive(std::span<const uint8_t> file) : file_(file) {
  const Directory directory = find_directory();
  if (directory.offset > file_.size() || directory.size > file_.size() - directory.offset) {
    fail_checkpoint("truncated or damaged zip archive: its directory at byte " +
                    std::to_string(directory.offset) + " lies outside the file of " +
                    std::to_string(file_.size()) + " bytes");
  }
  if (directory.count > directory.size / kEntryMinSize) {
    fail_checkpoint("damaged zip archive: " + std::to_string(directory.count) +
                    " entries do not fit into a directory of " + std::to_string(directory.size) +
                    " bytes");
  }
  ByteReader reader(file_.subspan(directory.offset, directory.size), "the zip directory");
  entries_.reserve(directory.count);
  for (uint64_t i = 0; i < directory.count; ++i) read_entry(reader);
  check_overlaps();
}

ZipArchive::Directory ZipArchive::find_directory() const {
  constexpr size_t kMaxComment = 65535;
  if (file_.size() >= kEndSize) {
    const size_t last = file_.size() - kEndSize;
    const size_t first = last > kMaxComment ? last - kMaxComment : 0;
    for (size_t at = last + 1; at-- > first;) {
      ByteReader reader(file_.subspan(at), "the zip end record");
      if (reader.u32("signature") != kEndSignature) continue;
      reader.skip(6, "disk numbers");
      Directory directory{};
      directory.count = reader.u16("count");
      directory.size = reader.u32("directory size");
      directory.offset = reader.u32("directory offset");
      // A comment that ends where the file ends: else these four bytes were chance.
      if (reader.u16("comment size") != reader.left()) continue;
      const bool zip64 = directory.count == 0xFFFF || directory.size == 0xFFFFFFFF ||
                         directory.offset == 0xFFFFFFFF;
      return zip64 ? zip64_directory(at) : directory;
    }
  }
  fail_checkpoint(
      "truncated zip archive: it begins like a checkpoint of torch.save, but its end, where a "
      "zip's directory is, is missing; the download or copy was cut short, get the file again");
}

ZipArchive::Directory ZipArchive::zip64_directory(size_t end_record) const {
  constexpr const char* kWhere = "the zip64 end record";
  if (end_record < kZip64LocatorSize) fail_checkpoint("damaged zip archive: no zip64 locator");
  ByteReader locator(file_.subspan(end_record - kZip64LocatorSize), "the zip64 locator");
  if (locator.u32("signature") != kZip64LocatorSignature) {
    fail_checkpoint("damaged zip archive: its zip64 locator is missing");
  }
  locator.skip(4, "disk number");
  const uint64_t offset = locator.u64("offset");
  if (offset > file_.size()) {
    fail_checkpoint("damaged zip archive: its zip64 locator points to byte " +
                    std::to_string(offset) + " of " + std::to_string(file_.size()));
  }
  ByteReader reader(file_.subspan(offset), kWhere, offset);
  if (reader.u32("signature") != kZip64EndSignature) {
    fail_checkpoint("damaged zip archive: its zip64 locator does not point to a zip64 end record");
  }
  reader.skip(8 + 2 + 2 + 4 + 4 + 8, "size, versions and disk numbers");
  Directory directory{};
  directory.count = reader.u64("count");
  directory.size = reader.u64("directory size");
  directory.offset = reader.u64("directory offset");
  return directory;
}

void ZipArchive::read_entry(ByteReader& directory) {
  if (directory.u32("signature") != kEntrySignature) {
    fail_checkpoint("damaged zip archive: entry " + std::to_string(entries_.size()) +
                    " of its directory has a wrong signature");
  }
  ZipEntry entry;
  directory.skip(4, "versions");
  const uint16_t flags = directory.u16("flags");
  entry.method = directory.u16("method");
  directory.skip(4, "date");
  entry.crc32 = directory.u32("CRC-32");
  uint64_t packed_size = directory.u32("packed size");
  entry.size = directory.u32("size");
  const uint16_t name_size = directory.u16("name size");
  const uint16_t extra_size = directory.u16("extra size");
  const uint16_t comment_size = directory.u16("comment size");
  directory.skip(8, "attributes");
  uint64_t header_offset = directory.u32("header offset");
  entry.name = directory.text(name_size, "an entry's name");
  const auto extra = directory.take(extra_size, "an entry's extra field");
  directory.skip(comment_size, "an entry's comment");

  if ((flags & 1) != 0) {
    fail_checkpoint(entry_text(entry) + " is encrypted, expected a plain archive");
  }
  if (entry.method != kStored && entry.method != kDeflated) {
    fail_checkpoint(entry_text(entry) + " is packed with method " + std::to_string(entry.method) +
                    ", expected stored (0) or deflated (8)");
  }
  uint64_t* const values[] = {&entry.size, &packed_size, &header_offset};
  apply_zip64(extra, values, entry);
  locate(entry, header_offset, packed_size);
  if (!by_name_.emplace(entry.name, entries_.size()).second) {
    fail_checkpoint(entry_text(entry) + " is there twice");
  }
  entries_.push_back(entry);
}

void ZipArchive::locate(ZipEntry& entry, uint64_t header_offset, uint64_t packed_size) {
  if (header_offset > file_.size()) {
    fail_checkpoint(entry_text(entry) + " begins at byte " + std::to_string(header_offset) +
                    ", past the end of the file");
  }
  ByteReader local(file_.subspan(header_offset), "a zip entry", header_offset);
  if (local.u32("its signature") != kLocalSignature) {
    fail_checkpoint(entry_text(entry) + " has no local header at byte " +
                    std::to_string(header_offset));
  }
  // Sizes and CRC-32 may be zero here: then they follow the data. The directory's are the truth.
  local.skip(22, "its header");
  const uint16_t name_size = local.u16("its name's size");
  const uint16_t extra_size = local.u16("its extra field's size");
  if (local.text(name_size, "its name") != entry.name) {
    fail_checkpoint(entry_text(entry) + " has another name in its local header");
  }
  local.skip(extra_size, "its extra field");
  if (packed_size > local.left()) {
    fail_checkpoint(entry_text(entry) + " of " + std::to_string(packed_size) +
                    " bytes reaches past the end of the file: truncated or damaged zip archive");
  }
  entry.packed = local.take(packed_size, "its data");
  if (entry.method == kStored && entry.size != packed_size) {
    fail_checkpoint(entry_text(entry) + " is stored, but its sizes differ: " +
                    std::to_string(packed_size) + " and " + std::to_string(entry.size));
  }
  if (entry.method == kDeflated && entry.size / kMaxDeflateRatio > packed_size) {
    fail_checkpoint(entry_text(entry) + " claims to grow from " + std::to_string(packed_size) +
                    " to " + std::to_string(entry.size) + " bytes, which deflate cannot do");
  }
}

// Entries that share bytes are how a small archive pretends to hold a lot.
void ZipArchive::check_overlaps() {
  std::vector<const ZipEntry*> sorted;
  for (const ZipEntry& entry : entries_) {
    if (!entry.packed.empty()) sorted.push_back(&entry);
  }
  std::sort(sorted.begin(), sorted.end(), [](const ZipEntry* a, const ZipEntry* b) {
    return a->packed.data() < b->packed.data();
  });
  for (size_t i = 1; i < sorted.size(); ++i) {
    const auto before = sorted[i - 1]->packed;
    if (before.data() + before.size() > sorted[i]->packed.data()) {
      fail_checkpoint(entry_text(*sorted[i]) + " overlaps " + entry_text(*sorted[i - 1]));
    }
  }
}

const ZipEntry* ZipArchive::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

ZipBytes read_zip_entry(const ZipEntry& entry) {
  ZipBytes result{entry.packed, nullptr};
  if (entry.method == kDeflated) {
    std::shared_ptr<uint8_t[]> memory(new uint8_t[std::max<uint64_t>(entry.size, 1)]);
    if (!inflate(entry.packed, {memory.get(), entry.size})) {
      fail_checkpoint(entry_text(entry) + " is damaged: its deflated data does not unpack to " +
                      std::to_string(entry.size) + " bytes");
    }
    result.bytes = {memory.get(), entry.size};
    result.owner = std::move(memory);
  }
  if (entry.crc32 != 0 && crc32(result.bytes.data(), result.bytes.size()) != entry.crc32) {
    fail_checkpoint(entry_text(entry) + " is damaged: its CRC-32 does not match");
  }
  return result;
}

}  // namespace lightcap::internal
