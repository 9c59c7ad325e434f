// A file that appears complete or not at all.
#ifndef LIGHTCAP_ENGINE_IO_OUTPUT_FILE_H_
#define LIGHTCAP_ENGINE_IO_OUTPUT_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lightcap {

// Written under a temporary name in the folder of `path`; publish() gives it its name. Without
// that, the destructor removes it. All throw Error(kOutput) that names `path`.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void append(std::span<const uint8_t> bytes);
  // Overwrites what was appended before.
  void write_at(uint64_t offset, std::span<const uint8_t> bytes);
  // Replaces what stands under `path` once all bytes are on the disk.
  void publish();

 private:
  [[noreturn]] void fail(const char* what) const;
  void flush();
  void put(uint64_t offset, std::span<const uint8_t> bytes);

  std::string path_;    // as the user gave it, for messages
  std::string target_;  // where a symbolic link leads
  std::string temporary_;
  int file_ = -1;
  // What was appended and is not written yet. Written in pieces of a huge page's size that begin at
  // multiples of it, since Linux then keeps the file in huge pages where it can
  // (engine/runtime/block.h).
  std::vector<uint8_t> pending_;
  uint64_t written_ = 0;  // bytes before those
};

}  // namespace lightcap

#endif  // LIGHTCAP_ENGINE_IO_OUTPUT_FILE_H_
