#include "engine/io/file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/runtime/block.h"

namespace lightcap::internal {

// Opening a pipe must not wait for its writer: it is refused.
RegularFile::RegularFile(const std::string& path, ErrorCode code)
    : path_(path), code_(code), file_(platform::open_to_read(path, platform::Pipes::kDoNotWait)) {
  if (!file_) fail(std::string("cannot open the file: ") + std::strerror(errno));
  const auto status = file_.status();
  if (!status) fail(std::string("cannot examine the file: ") + std::strerror(errno));
  if (status->kind != platform::FileKind::kRegular) fail("not a regular file");
  size_ = static_cast<size_t>(status->size);
}

void RegularFile::fail(const std::string& what) const { throw Error(code_, path_ + ": " + what); }

void RegularFile::read(uint8_t* out, size_t size) const {
  while (size > 0) {
    const ptrdiff_t got = file_.read({out, size});
    if (got < 0) fail(std::string("cannot read the file: ") + std::strerror(errno));
    if (got == 0) fail("the file became shorter while it was read");
    out += got;
    size -= static_cast<size_t>(got);
  }
}

std::vector<uint8_t> read_file(const std::string& path, ErrorCode code, size_t max_bytes,
                               const Interruption* interruption) {
  constexpr size_t kPiece = size_t{1} << 20;
  const RegularFile file(path, code);
  if (file.size() > max_bytes) {
    throw Error(code, path + ": the file has " + std::to_string(file.size()) +
                          " bytes, the limit is " + std::to_string(max_bytes));
  }
  std::vector<uint8_t> bytes;
  bytes.reserve(file.size());
  prefer_huge_pages(bytes.data(), bytes.capacity());  // given back in a tenth of the time
  while (bytes.size() < file.size()) {
    check_interruption(interruption);
    const size_t done = bytes.size(), piece = std::min(kPiece, file.size() - done);
    bytes.resize(done + piece);
    file.read(bytes.data() + done, piece);
  }
  return bytes;
}

}  // namespace lightcap::internal
