// Reading .lcw files. See weights_format.h for the format.
#ifndef LIGHTCAP_ENGINE_IO_WEIGHTS_FILE_H_
#define LIGHTCAP_ENGINE_IO_WEIGHTS_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/io/weights_format.h"
#include "engine/platform/platform.h"
#include "engine/runtime/reloadable_memory.h"

namespace lightcap::internal {

// Bytes that somebody else keeps alive: a mapping, a buffer.
struct Bytes {
  const uint8_t* data = nullptr;
  size_t size = 0;
};

using Value = std::variant<uint64_t, double, std::string_view, std::vector<std::string_view>,
                           std::vector<double>>;

struct TensorEntry {
  std::string_view name;
  DataType type;
  Layout layout;
  std::vector<uint64_t> dims;  // logical, as in a checkpoint
  uint64_t offset;
  uint64_t bytes;
  uint32_t crc32;
};

// How many bytes a tensor of these dimensions takes, or 0 where that does not fit into 64 bits.
uint64_t tensor_bytes(DataType type, Layout layout, const std::vector<uint64_t>& dims);

enum class FileAccess { kMap, kRead };

// An opened and validated file. Everything but the tensors' contents is checked when it is made, in
// time and memory bounded by the size of header, key-values and directory: afterwards each entry
// lies inside the file, aligned, overlaps no other, and has the size that its dimensions say. Views
// point into it.
class WeightsFile final : public ReloadableMemory {
 public:
  // All throw Error(kModel). `source` names the file in messages.
  // kMap maps the file; if another process truncates it meanwhile, reading it raises SIGBUS. kRead
  // reads it into memory first.
  static WeightsFile open(const std::string& path, FileAccess access = FileAccess::kMap);
  // A part of an open file, which may be closed afterwards: `size` bytes from `offset` on, or all
  // that follow where `size` is 0. Where it does not begin at a multiple of 64 it is read.
  static WeightsFile open_part(platform::Handle handle, uint64_t offset, uint64_t size,
                               FileAccess access);
  // Borrows a 64-byte aligned buffer; copies one that is aligned otherwise.
  static WeightsFile from_buffer(Bytes bytes, const std::string& source);

  const std::string& source() const { return source_; }
  Bytes bytes() const { return bytes_; }
  // Bytes of memory that the file takes beside page cache: 0 where it is mapped or borrowed.
  size_t owned_bytes() const { return owned_bytes_; }
  // None of a file that is in memory.
  size_t releasable_bytes(const void* data, size_t bytes) const override;
  void release(const void* data, size_t bytes) const override;

  struct KeyValue {
    std::string_view key;
    Value value;
  };
  const std::vector<KeyValue>& key_values() const { return key_values_; }
  const std::vector<TensorEntry>& tensors() const { return tensors_; }

  // Null where there is none.
  const Value* find_value(std::string_view key) const;
  const TensorEntry* find_tensor(std::string_view name) const;
  const uint8_t* data(const TensorEntry& tensor) const { return bytes_.data + tensor.offset; }

 private:
  WeightsFile(std::shared_ptr<const void> owner, Bytes bytes, size_t owned_bytes,
              std::string source);
  Bytes pages_within(const void* data, size_t bytes) const;
  void parse();
  void index();
  void check_extents(const WeightsHeader& header) const;

  std::shared_ptr<const void> owner_;  // keeps bytes_ alive
  Bytes bytes_;
  size_t owned_bytes_;
  std::string source_;
  std::vector<KeyValue> key_values_;  // both in the file's order
  std::vector<TensorEntry> tensors_;
  std::vector<uint32_t> keys_by_name_;
  std::vector<uint32_t> tensors_by_name_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IO_WEIGHTS_FILE_H_
