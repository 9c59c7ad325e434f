// Everything that LightCap asks of the operating system beyond the C++ standard library. One file
// for each system implements this header (posix.cc), and no other file of the engine, the models,
// the programs or the benchmarks includes a system's header: tests/system_headers_test.py holds it.
//
// A function that can fail says so by its result and leaves the reason in errno, as the C library
// does. Words and exceptions are the callers' business. A read or write that a signal interrupts is
// made again; one that a stream of somebody else's could not do without waiting, waits.
#ifndef LIGHTCAP_ENGINE_PLATFORM_PLATFORM_H_
#define LIGHTCAP_ENGINE_PLATFORM_PLATFORM_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lightcap::internal::platform {

// ---- Files ----

// The system's own name of an open file or folder: a descriptor, on Windows a HANDLE.
using Handle = intptr_t;
inline constexpr Handle kNoHandle = -1;

enum class FileKind { kRegular, kFolder, kOther };

// Equal for two names of the same file: device and inode.
struct FileId {
  uint64_t device = 0, inode = 0;
  bool operator==(const FileId&) const = default;
};

// When a file's contents last changed.
struct FileTime {
  int64_t seconds = 0, nanoseconds = 0;
  bool operator==(const FileTime&) const = default;
};

struct FileStatus {
  FileKind kind = FileKind::kOther;
  uint64_t size = 0;
  FileId id;
  FileTime changed;
  uint32_t permissions = 0;  // for reading, writing and executing: the bits 0777
  bool is_ours = false;      // belongs to the user whose rights this process has
};

// An open file, which the destructor closes without touching errno.
class File {
 public:
  File() = default;  // none
  explicit File(Handle handle) : handle_(handle) {}
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  // The process's streams, which stay open.
  static File standard_input();
  static File standard_output();
  static File standard_error();
  // Somebody else's open file, which stays open.
  static File borrowed(Handle handle);

  explicit operator bool() const { return handle_ != kNoHandle; }
  Handle handle() const { return handle_; }
  std::optional<FileStatus> status() const;

  // The number of bytes read, 0 at the file's end, or -1. May be fewer than there is room for.
  ptrdiff_t read(std::span<uint8_t> out) const;
  ptrdiff_t read_at(uint64_t offset, std::span<uint8_t> out) const;
  // All of the bytes; false where they cannot be written.
  bool write(std::span<const uint8_t> bytes) const;
  bool write_at(uint64_t offset, std::span<const uint8_t> bytes) const;

  // Takes that many bytes of the disk. ENOSPC, EDQUOT, EFBIG and EIO mean what they do for
  // writing; after any other reason the file system just cannot say beforehand.
  bool reserve(uint64_t bytes) const;
  bool truncate(uint64_t size) const;
  bool set_permissions(uint32_t permissions) const;
  // Returns once the bytes are on the disk.
  bool sync() const;
  // Tries to take the file's lock, which ends with the file or the process that has it open.
  // ENOLCK, EOPNOTSUPP and ENOSYS: the file system has no locks.
  bool lock() const;
  // The file is closed in any case, but one that is somebody else's, which is only let go; false
  // where something written before was lost.
  bool close();

 private:
  Handle handle_ = kNoHandle;
  bool is_borrowed_ = false;
};

// Opening a pipe for reading waits for its writer, or does not, and then finds the pipe empty.
enum class Pipes { kWait, kDoNotWait };
File open_to_read(const std::string& path, Pipes pipes);
// For a pipe or a device, which is written from wherever it stands.
File open_to_write(const std::string& path);
// For reading, and for writing at the end wherever that is by then; a file that is not there is
// made.
File open_to_append(const std::string& path);

// Links are followed.
std::optional<FileStatus> status(const std::string& path);
bool may_read(const std::string& path);
bool may_write(const std::string& path);
// EEXIST where something has that name.
bool make_folder(const std::string& path);
// Appends the names of all that lies in a folder, in any order. False, with errno, where it cannot
// be read to its end. std::filesystem's iterators let no exception out of them: where memory runs
// out, they end the process.
bool list_names(const std::string& folder, std::vector<std::string>& names);
// Appends the paths that a pattern of * ? [ ] matches, sorted. False where there are none, or not
// all could be found.
bool find_matches(const std::string& pattern, std::vector<std::string>& paths);

// An open folder. Names are relative to it, whatever happens to its own path meanwhile, and links
// are not followed.
class Folder {
 public:
  Folder() = default;  // none
  // The folder of the program's current paths where `path` is empty.
  explicit Folder(const std::string& path);
  ~Folder() { close(); }
  Folder(Folder&& other) = delete;
  Folder& operator=(Folder&& other) noexcept;

  explicit operator bool() const { return handle_ != kNoHandle; }
  Handle handle() const { return handle_; }
  void close() noexcept;

  // A file for reading and writing that has no name, and vanishes with the process unless
  // give_name() works. None where the system or the file system has no such files.
  File create_unnamed(uint32_t permissions) const;
  // EEXIST where the name is taken.
  bool give_name(const File& unnamed, const std::string& name) const;
  // A new file for reading and writing; EEXIST where the name is taken.
  File create(const std::string& name, uint32_t permissions) const;
  // Does not wait for a pipe's writer.
  File open_to_read(const std::string& name) const;
  std::optional<FileStatus> status(const std::string& name) const;
  // A file of the name `to` is replaced in one step.
  bool rename(const std::string& from, const std::string& to) const;
  // For signal handlers too: async-signal-safe, and a handle is what they can keep of a folder.
  static void remove(Handle folder, const char* name) noexcept;
  // Returns once the names are on the disk, or at once where the system cannot do that.
  void sync() const;

 private:
  Handle handle_ = kNoHandle;
};

// ---- Memory ----

size_t page_size();

// Asks for huge pages under [memory, memory + bytes), which begins at a page. Where there are none
// this fails, which changes nothing.
void ask_for_huge_pages(void* memory, size_t bytes);

// The bytes of a file, or of a part of it, as read-only memory. A page that the file no longer has
// raises a signal (on_missing_page), and the file need not stay open.
class Mapping {
 public:
  Mapping() = default;  // none
  // None where the file system cannot map, or `size` is 0. `offset` is one of page_size().
  Mapping(const File& file, size_t size, uint64_t offset = 0);
  ~Mapping();
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;

  explicit operator bool() const { return data_ != nullptr; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  void ask_for_huge_pages() const;

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// A page of a mapping counts as the process's memory from the first look at it. This ends that for
// [pages, pages + bytes), which begins at a page; looking again reads them from the file again.
void give_back(const void* pages, size_t bytes);

// Addresses without memory, which nobody may read or write: arithmetic on them is that of a real
// object, and an access raises a signal (SIGSEGV) at the instruction that made it.
class AddressRange {
 public:
  AddressRange() = default;  // none
  // None where the system has no such addresses left, or `size` is 0. Begins at a page.
  explicit AddressRange(size_t size);
  ~AddressRange();
  AddressRange(AddressRange&& other) noexcept;
  AddressRange& operator=(AddressRange&& other) noexcept;

  explicit operator bool() const { return begin_ != nullptr; }
  void* begin() const { return begin_; }
  size_t size() const { return size_; }

 private:
  void* begin_ = nullptr;
  size_t size_ = 0;
};

// ---- Processes and threads ----

uint32_t process_id();

// Around every fork of the process: before it and after it in the parent, and in the child. 0, or
// errno's reason.
int on_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

// A thread that may be forgotten. A std::thread must be joined or detached, which a forked child
// cannot do with the threads that it does not have, and needs memory for each.
class Thread {
 public:
  // 0, or errno's reason.
  int start(void* (*body)(void*), void* argument);
  void join() const;

 private:
  uintptr_t thread_ = 0;
};

// The processors that the calling thread may run on; 0 where the system does not say.
int allowed_processors();
// The size of the largest cache; 0 where the system does not say.
size_t last_level_cache_bytes();
// The time that the calling thread has spent running.
double thread_seconds();

// Bytes that nobody can guess. False where the system has none to give right now.
bool fill_with_random(std::span<uint8_t> out);

// ---- Programs: for main() alone, never for the library ----

// The path of the running program, links resolved; empty where the system does not say.
std::string program_path();

// A closed standard stream would give its number, and what is printed, to the next file that is
// opened. Each is opened the wrong way round, so that using it remains an error.
void hold_standard_streams();
bool error_stream_is_terminal();
// Writes to stderr. For signal handlers too: async-signal-safe.
void print_error(std::string_view text) noexcept;

// Makes writing beyond the limit on files' sizes an error (EFBIG) instead of the program's end.
void survive_file_size_limit();
// A signal that ends the program from outside (SIGINT, SIGTERM, SIGHUP) ends it as before, but
// after `clean_up`, which must be async-signal-safe. One that was ignored stays so.
void before_termination(void (*clean_up)());
// Calls `end` with the address of a mapped page that could not be read (SIGBUS). It must be
// async-signal-safe and must not return.
void on_missing_page(void (*end)(const void* address));

}  // namespace lightcap::internal::platform

#endif  // LIGHTCAP_ENGINE_PLATFORM_PLATFORM_H_
