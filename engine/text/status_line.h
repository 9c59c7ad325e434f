// A line of progress on a terminal.
#ifndef LIGHTCAP_ENGINE_TEXT_STATUS_LINE_H_
#define LIGHTCAP_ENGINE_TEXT_STATUS_LINE_H_

#include <cstdio>

#include "engine/platform/platform.h"

namespace lightcap::internal {

// A line that is rewritten in place at the end of a terminal and vanishes with this; nothing where
// stderr is no terminal. For programs, never for the library.
class StatusLine {
 public:
  StatusLine() : is_terminal_(platform::error_stream_is_terminal()) {}
  ~StatusLine() { hide(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  // Covers what was shown before as far as the new text goes.
  void show(const char* text) {
    if (!is_terminal_) return;
    std::fprintf(stderr, "\r%s", text);
    std::fflush(stderr);
    is_shown_ = true;
  }
  // Before something else is written.
  void hide() {
    if (!is_shown_) return;
    std::fputs("\r\033[K", stderr);  // erases to the line's end
    std::fflush(stderr);
    is_shown_ = false;
  }

 private:
  const bool is_terminal_;
  bool is_shown_ = false;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_TEXT_STATUS_LINE_H_
