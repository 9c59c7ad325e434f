#include "weights_converter/signals.h"

#include <cstdlib>
#include <string_view>

#include "engine/io/output_file.h"
#include "engine/platform/platform.h"
#include "engine/runtime/error.h"
#include "engine/runtime/terminate.h"
#include "weights_converter/checkpoint/mapped_file.h"

namespace lightcap::internal {
namespace {

// Everything here but handle_signals runs in signal handlers: no allocation, no locks.

// A path as it is but for control characters, which a terminal would obey.
void print_path(const char* path) {
  for (; *path != 0; ++path) {
    const bool control = static_cast<unsigned char>(*path) < ' ' || *path == '\x7f';
    const char shown = control ? '?' : *path;
    platform::print_error({&shown, 1});
  }
}

void report_truncated(const void* address) {
  const char* path = MappedFile::path_of(address);
  platform::print_error(LIGHTCAP_PROGRAM ": ");
  print_path(path != nullptr ? path : "a file");
  platform::print_error(": the file became shorter, or could not be read, while it was in use\n");
  OutputFile::remove_unfinished();
  std::_Exit(static_cast<int>(ErrorCode::kCheckpoint));
}

// Before main already: making the option parser's and the JSON library's globals allocates.
[[gnu::constructor(101)]] void handle_terminate() {
  end_with_words({.out_of_memory = LIGHTCAP_PROGRAM ": out of memory\n",
                  .unhandled = LIGHTCAP_PROGRAM ": ended by an error that nothing handles\n",
                  .clean_up = OutputFile::remove_unfinished});
}

}  // namespace

void handle_signals() {
  platform::on_missing_page(report_truncated);
  platform::before_termination(OutputFile::remove_unfinished);
}

}  // namespace lightcap::internal
