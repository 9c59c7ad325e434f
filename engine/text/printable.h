// Texts from files, for people to read on a terminal or in a log.
#ifndef LIGHTCAP_ENGINE_TEXT_PRINTABLE_H_
#define LIGHTCAP_ENGINE_TEXT_PRINTABLE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lightcap::internal {

// `text` with everything escaped that could do more than show itself: control characters (C0, DEL,
// C1) and the line separators and bidirectional overrides of Unicode as \n, \t, \r, \x1b or
// \u202e, bytes that are not UTF-8 as \xff. Printable UTF-8 stays as it is. A text longer than
// `most` bytes is cut there, between characters, and "..." follows.
std::string printable(std::string_view text, size_t most = SIZE_MAX);

// The same line by line: newlines stay. For our own lists, and texts that are meant to have lines.
std::string printable_lines(std::string_view text);

// A tensor's dimensions: "[30522, 312]".
std::string dims_text(const std::vector<uint64_t>& dims);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_TEXT_PRINTABLE_H_
