// Reads numbers and runs of bytes one after the other and never past the end.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_BYTE_READER_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_BYTE_READER_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "engine/runtime/error.h"
#include "engine/text/printable.h"

namespace lightcap::internal {

// For all readers of this folder. They leave out the file's path: read_checkpoint puts it in front.
[[noreturn]] inline void fail_checkpoint(const std::string& what) {
  throw Error(ErrorCode::kCheckpoint, what);
}

// `text` for a message: escaped, and cut to a sane length.
inline std::string excerpt(std::string_view text) {
  constexpr size_t kMost = 80;
  return printable(text, kMost);
}

class ByteReader {
 public:
  // `where` names the bytes in messages ("data.pkl") and outlives the reader. `origin` is the
  // position of the first byte there.
  ByteReader(std::span<const uint8_t> bytes, const char* where, size_t origin = 0)
      : bytes_(bytes), where_(where), origin_(origin) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }
  const char* where() const { return where_; }

  std::span<const uint8_t> take(uint64_t count, const char* what) {
    if (count > left()) {
      fail_checkpoint(std::string(where_) + " is truncated or damaged: " + what + " at byte " +
                      std::to_string(origin_ + position_) + " needs " + std::to_string(count) +
                      " bytes, " + std::to_string(left()) + " are left");
    }
    const auto taken = bytes_.subspan(position_, static_cast<size_t>(count));
    position_ += taken.size();
    return taken;
  }
  void skip(uint64_t count, const char* what) { take(count, what); }

  std::string_view text(uint64_t count, const char* what) {
    const auto taken = take(count, what);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  // Up to the next newline, which is passed over and not part of the result.
  std::string_view line(const char* what) {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data() + position_), left());
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) {
      fail_checkpoint(std::string(where_) + " is truncated or damaged: " + what + " at byte " +
                      std::to_string(origin_ + position_) + " does not end");
    }
    position_ += end + 1;
    return rest.substr(0, end);
  }

  // Little-endian.
  template <class T>
  T number(const char* what) {
    T value = 0;
    size_t shift = 0;
    for (const uint8_t byte : take(sizeof(T), what)) {
      value = static_cast<T>(value | static_cast<T>(static_cast<T>(byte) << shift));
      shift += 8;
    }
    return value;
  }
  uint8_t u8(const char* what) { return take(1, what)[0]; }
  uint16_t u16(const char* what) { return number<uint16_t>(what); }
  uint32_t u32(const char* what) { return number<uint32_t>(what); }
  uint64_t u64(const char* what) { return number<uint64_t>(what); }

 private:
  std::span<const uint8_t> bytes_;
  const char* where_;
  size_t origin_;
  size_t position_ = 0;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_BYTE_READER_H_
