#include "weights_converter/signals.h"

#include <unistd.h>

#include <csignal>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <new>

#include "engine/io/output_file.h"
#include "engine/runtime/error.h"
#include "weights_converter/checkpoint/mapped_file.h"

namespace lightcap {
namespace {

// Everything here but handle_signals runs in signal handlers: no allocation, no locks.

void print(const char* text) {
  size_t left = std::strlen(text);
  while (left > 0) {
    const ssize_t written = write(STDERR_FILENO, text, left);
    if (written <= 0) return;
    text += written;
    left -= static_cast<size_t>(written);
  }
}

// A path as it is but for control characters, which a terminal would obey.
void print_path(const char* path) {
  for (; *path != 0; ++path) {
    const bool control = (*path >= 0 && *path < ' ') || *path == '\x7f';
    const char shown[] = {control ? '?' : *path, 0};
    print(shown);
  }
}

[[noreturn]] void end(ErrorCode code) {
  OutputFile::remove_unfinished();
  _exit(static_cast<int>(code));
}

// The handler was taken off when it was called, so that the signal now does what it does by itself.
void end_by(int signal) {
  OutputFile::remove_unfinished();
  raise(signal);
}

void report_truncated(int, siginfo_t* info, void*) {
  const char* path = MappedFile::path_of(info->si_addr);
  print("lightcap-convert: ");
  print_path(path != nullptr ? path : "a file");
  print(": the file became shorter, or could not be read, while it was in use\n");
  end(ErrorCode::kCheckpoint);
}

[[noreturn]] void end_without_memory() {
  if (const std::exception_ptr error = std::current_exception()) {
    try {
      std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
      print("lightcap-convert: out of memory\n");
      end(ErrorCode::kMemory);
    } catch (...) {
    }
  }
  print("lightcap-convert: ended by an error that nothing handles\n");
  end(ErrorCode::kInternal);
}

// Before main already: making the option parser's and the JSON library's globals allocates.
[[gnu::constructor(101)]] void handle_terminate() { std::set_terminate(end_without_memory); }

}  // namespace

void handle_signals() {
  std::signal(SIGXFSZ, SIG_IGN);
  struct sigaction action = {};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO | static_cast<int>(SA_RESETHAND);
  action.sa_sigaction = report_truncated;
  sigaction(SIGBUS, &action, nullptr);
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  action.sa_handler = end_by;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before = {};
    if (sigaction(signal, nullptr, &before) != 0 || before.sa_handler == SIG_IGN) continue;
    sigaction(signal, &action, nullptr);
  }
}

}  // namespace lightcap
