// POSIX, with what Linux has beyond it. Where the extension is missing, the function says that the
// system cannot, which platform.h allows.
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

#if defined(__linux__)
#include <linux/random.h>
#include <sched.h>
#include <sys/syscall.h>

#include <filesystem>
#else
#include <sys/random.h>
#endif

#include "engine/platform/platform.h"

namespace lightcap::internal::platform {
namespace {

int descriptor(Handle handle) { return static_cast<int>(handle); }

// Calls again what a signal interrupted.
template <class Call>
auto uninterrupted(Call&& call) {
  while (true) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

// The same, and where the descriptor does not wait by itself, waits for `events`. Being so belongs
// to the open file, which a stream shares with programs that this one knows nothing of.
template <class Call>
auto awaited(int descriptor, short events, Call&& call) {
  while (true) {
    const auto result = uninterrupted(call);
    if (result >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) return result;
    pollfd waiting = {descriptor, events, 0};
    if (uninterrupted([&] { return poll(&waiting, 1, -1); }) < 0) return result;
  }
}

// A descriptor's end, for places that report another error.
void close_quietly(Handle handle) noexcept {
  const int reason = errno;
  ::close(descriptor(handle));
  errno = reason;
}

FileStatus status_of(const struct stat& info) {
#if defined(__APPLE__)
  const timespec& changed = info.st_mtimespec;
#else
  const timespec& changed = info.st_mtim;
#endif
  return {.kind = S_ISREG(info.st_mode)   ? FileKind::kRegular
                  : S_ISDIR(info.st_mode) ? FileKind::kFolder
                                          : FileKind::kOther,
          .size = static_cast<uint64_t>(info.st_size),
          .id = {static_cast<uint64_t>(info.st_dev), static_cast<uint64_t>(info.st_ino)},
          .changed = {changed.tv_sec, changed.tv_nsec},
          .permissions = static_cast<uint32_t>(info.st_mode & 0777),
          .is_ours = info.st_uid == geteuid()};
}

bool may(const std::string& path, int mode) {
  return faccessat(AT_FDCWD, path.c_str(), mode, AT_EACCESS) == 0;
}

#if defined(O_TMPFILE)
// A path of an open file that has none of its own.
std::string handle_path(const File& file) {
  return "/proc/self/fd/" + std::to_string(descriptor(file.handle()));
}
#endif

}  // namespace

// ---- Files ----

File::~File() {
  if (handle_ != kNoHandle && !is_borrowed_) close_quietly(handle_);
}

File::File(File&& other) noexcept
    : handle_(std::exchange(other.handle_, kNoHandle)), is_borrowed_(other.is_borrowed_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(is_borrowed_, other.is_borrowed_);
  return *this;
}

File File::borrowed(Handle handle) {
  File file(handle);
  file.is_borrowed_ = true;
  return file;
}

File File::standard_input() { return borrowed(STDIN_FILENO); }
File File::standard_output() { return borrowed(STDOUT_FILENO); }
File File::standard_error() { return borrowed(STDERR_FILENO); }

std::optional<FileStatus> File::status() const {
  struct stat info = {};
  if (fstat(descriptor(handle_), &info) != 0) return std::nullopt;
  return status_of(info);
}

ptrdiff_t File::read(std::span<uint8_t> out) const {
  const auto call = [&] { return ::read(descriptor(handle_), out.data(), out.size()); };
  // One that was opened here not to wait for anybody does not.
  return is_borrowed_ ? awaited(descriptor(handle_), POLLIN, call) : uninterrupted(call);
}

ptrdiff_t File::read_at(uint64_t offset, std::span<uint8_t> out) const {
  return uninterrupted([&] {
    return pread(descriptor(handle_), out.data(), out.size(), static_cast<off_t>(offset));
  });
}

bool File::write(std::span<const uint8_t> bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = awaited(descriptor(handle_), POLLOUT, [&] {
      return ::write(descriptor(handle_), bytes.data(), bytes.size());
    });
    if (written == 0) errno = EIO;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

bool File::write_at(uint64_t offset, std::span<const uint8_t> bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = uninterrupted([&] {
      return pwrite(descriptor(handle_), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    });
    if (written == 0) errno = EIO;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return true;
}

bool File::reserve([[maybe_unused]] uint64_t bytes) const {
#if defined(__linux__)
  return uninterrupted(
             [&] { return fallocate(descriptor(handle_), 0, 0, static_cast<off_t>(bytes)); }) == 0;
#else
  errno = EOPNOTSUPP;
  return false;
#endif
}

bool File::truncate(uint64_t size) const {
  return ftruncate(descriptor(handle_), static_cast<off_t>(size)) == 0;
}

bool File::set_permissions(uint32_t permissions) const {
  return fchmod(descriptor(handle_), static_cast<mode_t>(permissions)) == 0;
}

bool File::sync() const { return fsync(descriptor(handle_)) == 0; }

bool File::lock() const { return flock(descriptor(handle_), LOCK_EX | LOCK_NB) == 0; }

bool File::close() {
  const Handle handle = std::exchange(handle_, kNoHandle);
  return is_borrowed_ || ::close(descriptor(handle)) == 0;
}

File open_to_read(const std::string& path, Pipes pipes) {
  const int waiting = pipes == Pipes::kDoNotWait ? O_NONBLOCK : 0;
  return File(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | waiting));
}

File open_to_write(const std::string& path) {
  return File(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
}

File open_to_append(const std::string& path) {
  return File(open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666));
}

std::optional<FileStatus> status(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return std::nullopt;
  return status_of(info);
}

bool may_read(const std::string& path) { return may(path, R_OK); }

bool may_write(const std::string& path) { return may(path, W_OK); }

bool make_folder(const std::string& path) { return mkdir(path.c_str(), 0777) == 0; }

bool list_names(const std::string& folder, std::vector<std::string>& names) {
  struct Close {
    void operator()(DIR* open) const { closedir(open); }
  };
  const std::unique_ptr<DIR, Close> open(opendir(folder.c_str()));
  if (open == nullptr) {
    if (errno == ENOMEM) throw std::bad_alloc();
    return false;
  }
  while (true) {
    errno = 0;
    const dirent* entry = readdir(open.get());
    if (entry == nullptr) return errno == 0;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
}

bool find_matches(const std::string& pattern, std::vector<std::string>& paths) {
  struct Matches {
    glob_t found = {};
    ~Matches() { globfree(&found); }
  } matches;
  const int status = glob(pattern.c_str(), 0, nullptr, &matches.found);
  if (status == GLOB_NOSPACE) throw std::bad_alloc();
  paths.insert(paths.end(), matches.found.gl_pathv,
               matches.found.gl_pathv + matches.found.gl_pathc);
  return status == 0;
}

Folder::Folder(const std::string& path) {
#if defined(O_PATH)
  constexpr int kAccess = O_PATH;  // also where the folder may not be listed
#else
  constexpr int kAccess = O_RDONLY;
#endif
  handle_ = open(path.empty() ? "." : path.c_str(), kAccess | O_DIRECTORY | O_CLOEXEC);
}

Folder& Folder::operator=(Folder&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

void Folder::close() noexcept {
  if (handle_ != kNoHandle) close_quietly(std::exchange(handle_, kNoHandle));
}

File Folder::create_unnamed([[maybe_unused]] uint32_t permissions) const {
#if defined(O_TMPFILE)
  File file(openat(descriptor(handle_), ".", O_TMPFILE | O_RDWR | O_CLOEXEC,
                   static_cast<mode_t>(permissions)));
  // Without /proc it could never be named.
  if (file && access(handle_path(file).c_str(), F_OK) == 0) return file;
#endif
  return File();
}

bool Folder::give_name([[maybe_unused]] const File& unnamed,
                       [[maybe_unused]] const std::string& name) const {
#if defined(O_TMPFILE)
  return linkat(AT_FDCWD, handle_path(unnamed).c_str(), descriptor(handle_), name.c_str(),
                AT_SYMLINK_FOLLOW) == 0;
#else
  errno = EOPNOTSUPP;
  return false;
#endif
}

File Folder::create(const std::string& name, uint32_t permissions) const {
  return File(openat(descriptor(handle_), name.c_str(),
                     O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC,
                     static_cast<mode_t>(permissions)));
}

File Folder::open_to_read(const std::string& name) const {
  return File(
      openat(descriptor(handle_), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
}

std::optional<FileStatus> Folder::status(const std::string& name) const {
  struct stat info = {};
  if (fstatat(descriptor(handle_), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return std::nullopt;
  }
  return status_of(info);
}

bool Folder::rename(const std::string& from, const std::string& to) const {
  return renameat(descriptor(handle_), from.c_str(), descriptor(handle_), to.c_str()) == 0;
}

void Folder::remove(Handle folder, const char* name) noexcept {
  unlinkat(descriptor(folder), name, 0);
}

// The handle that names are relative to may not allow it, so the folder is opened once more.
void Folder::sync() const {
  const File folder(openat(descriptor(handle_), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder) folder.sync();
}

// ---- Memory ----

size_t page_size() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

void ask_for_huge_pages([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#if defined(MADV_HUGEPAGE)
  madvise(memory, bytes, MADV_HUGEPAGE);
#endif
}

// Private, since some file systems refuse to share (FUSE with direct I/O); nothing is ever written.
Mapping::Mapping(const File& file, size_t size, uint64_t offset) {
  if (size == 0) return;
  void* map = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor(file.handle()),
                   static_cast<off_t>(offset));
  if (map == MAP_FAILED) return;
  data_ = static_cast<const uint8_t*>(map);
  size_ = size;
}

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void Mapping::ask_for_huge_pages() const {
  platform::ask_for_huge_pages(const_cast<uint8_t*>(data_), size_);
}

void give_back(const void* pages, size_t bytes) {
  void* begin = const_cast<void*>(pages);
#if defined(MADV_NOHUGEPAGE)
  // Or whoever next touches the huge page that these are part of would bring them back.
  madvise(begin, bytes, MADV_NOHUGEPAGE);
#endif
#if defined(__linux__)
  // Mappings are read-only, so that their pages can be had again.
  madvise(begin, bytes, MADV_DONTNEED);
#else
  posix_madvise(begin, bytes, POSIX_MADV_DONTNEED);
#endif
}

AddressRange::AddressRange(size_t size) {
  if (size == 0) return;
  void* map = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) return;
  begin_ = map;
  size_ = size;
}

AddressRange::~AddressRange() {
  if (begin_ != nullptr) munmap(begin_, size_);
}

AddressRange::AddressRange(AddressRange&& other) noexcept
    : begin_(std::exchange(other.begin_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AddressRange& AddressRange::operator=(AddressRange&& other) noexcept {
  std::swap(begin_, other.begin_);
  std::swap(size_, other.size_);
  return *this;
}

// ---- Processes and threads ----

uint32_t process_id() { return static_cast<uint32_t>(getpid()); }

int on_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) {
  return pthread_atfork(before, in_parent, in_child);
}

int Thread::start(void* (*body)(void*), void* argument) {
  pthread_t thread = {};
  const int error = pthread_create(&thread, nullptr, body, argument);
  static_assert(sizeof thread == sizeof thread_);
  std::memcpy(&thread_, &thread, sizeof thread);
  return error;
}

void Thread::join() const {
  pthread_t thread = {};
  std::memcpy(&thread, &thread_, sizeof thread);
  pthread_join(thread, nullptr);
}

int allowed_processors() {
#if defined(__linux__)
  // As large as the kernel wants it: it refuses sets that are smaller than its own.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(cpus));
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(cpus));
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return count;
  }
#endif
  return 0;
}

size_t last_level_cache_bytes() {
#if defined(_SC_LEVEL3_CACHE_SIZE)
  return static_cast<size_t>(std::max(sysconf(_SC_LEVEL3_CACHE_SIZE), 0L));
#else
  return 0;
#endif
}

double thread_seconds() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

bool fill_with_random(std::span<uint8_t> out) {
#if defined(__linux__)
  // The C library's own function is newer than the oldest one that programs may be built for
  // (2.17).
  const long got = syscall(SYS_getrandom, out.data(), out.size(), GRND_NONBLOCK);
  return got == static_cast<long>(out.size());
#else
  return getentropy(out.data(), out.size()) == 0;
#endif
}

// ---- Programs ----

std::string program_path() {
#if defined(__linux__)
  std::error_code unknown;
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", unknown);
  if (!unknown) return path.string();
#endif
  return "";
}

void hold_standard_streams() {
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    if (fcntl(stream, F_GETFD) >= 0) continue;
    if (open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
  }
}

bool error_stream_is_terminal() { return isatty(STDERR_FILENO) == 1; }

void print_error(std::string_view text) noexcept {
  File::standard_error().write({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

void survive_file_size_limit() { std::signal(SIGXFSZ, SIG_IGN); }

namespace {

// The functions that the handlers call, set before they are installed.
void (*termination_clean_up)() = nullptr;
void (*missing_page_end)(const void* address) = nullptr;

// The handler was taken off when it was called, so that the signal now does what it does by itself.
void terminate_by(int signal) {
  termination_clean_up();
  std::raise(signal);
}

void report_missing_page(int, siginfo_t* info, void*) { missing_page_end(info->si_addr); }

}  // namespace

void before_termination(void (*clean_up)()) {
  termination_clean_up = clean_up;
  struct sigaction action = {};
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  action.sa_handler = terminate_by;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before = {};
    if (sigaction(signal, nullptr, &before) != 0 || before.sa_handler == SIG_IGN) continue;
    sigaction(signal, &action, nullptr);
  }
}

void on_missing_page(void (*end)(const void* address)) {
  missing_page_end = end;
  struct sigaction action = {};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO | static_cast<int>(SA_RESETHAND);
  action.sa_sigaction = report_missing_page;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace lightcap::internal::platform
