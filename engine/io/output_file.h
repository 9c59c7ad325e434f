// A file that appears complete or not at all.
#ifndef LIGHTCAP_ENGINE_IO_OUTPUT_FILE_H_
#define LIGHTCAP_ENGINE_IO_OUTPUT_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/platform/platform.h"

namespace lightcap::internal {

// True where files written to both paths would replace each other: symbolic links are followed, and
// the files need not be there. An empty path is none.
bool is_same_output(const std::string& a, const std::string& b);

// Written without a name, or under a temporary one where the file system has no files without
// names, in the folder of `path`; publish() gives it its name. Without that, the destructor removes
// it, and so does the end of the process: what one that was killed left under a temporary name is
// removed when the same path is written the next time. A symbolic link is followed, also one whose
// target is not there yet. All throw Error(kOutput) that names `path`.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Takes that many bytes of the disk at once where the file system can, so that a full disk is
  // found before the work is done.
  void reserve(uint64_t bytes);
  void append(std::span<const uint8_t> bytes);
  // Overwrites what was appended before.
  void write_at(uint64_t offset, std::span<const uint8_t> bytes);
  // Replaces what stands under `path` once all bytes are on the disk. Permissions are those of the
  // file replaced, but never its set-user-ID and set-group-ID bits.
  void publish();

  // Removes the temporary names of all files that are being written. For signal handlers that end
  // the process: async-signal-safe, and nothing can be published after it.
  static void remove_unfinished() noexcept;

 private:
  [[noreturn]] void fail(const char* what) const;
  void open_folder();
  bool open_nameless(uint32_t permissions);
  void open_named(uint32_t permissions);
  // The temporary name number `index` of this path, in its folder.
  std::string temporary_name(int index) const;
  bool has_name(const platform::File& file, const std::string& name) const;
  bool remove_stale(const std::string& name) const;
  void hold_name(std::string name);
  void release_name() noexcept;
  void give_temporary_name();
  void remove_temporary() noexcept;
  void flush();
  void put(uint64_t offset, std::span<const uint8_t> bytes);

  std::string path_;         // as the user gave it, for messages
  std::string target_;       // where a symbolic link leads
  std::string name_;         // of the target, in its folder
  platform::Folder folder_;  // all names are relative to it
  platform::File file_;
  std::string temporary_;  // in the folder; empty while the file has no name
  int slot_ = -1;          // in the list for remove_unfinished
  uint64_t reserved_ = 0;
  // Bytes that were appended and are not written yet. Written in pieces of a huge page's size that
  // begin at multiples of it, since Linux then keeps the file in huge pages where it can
  // (engine/runtime/block.h).
  std::vector<uint8_t> pending_;
  uint64_t written_ = 0;  // bytes before those
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IO_OUTPUT_FILE_H_
