// Deflate as RFC 1951 describes it. stb_image's inflater would be at hand, but it reads ahead and
// takes data without zlib's trailer, as zip has it, for truncated.
#include "weights_converter/checkpoint/inflate.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace lightcap::internal {
namespace {

constexpr size_t kMaxCodeBits = 15;
constexpr size_t kFastBits = 10;  // codes up to this long take one lookup

// Least significant bit first. Past the end there are zeros, which `overrun` tells.
class BitReader {
 public:
  explicit BitReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  uint32_t peek(size_t count) {
    while (available_ < count) {
      if (next_ < bytes_.size()) bits_ |= static_cast<uint64_t>(bytes_[next_]) << available_;
      ++next_;
      available_ += 8;
    }
    return static_cast<uint32_t>(bits_ & ((uint64_t{1} << count) - 1));
  }
  void drop(size_t count) {
    bits_ >>= count;
    available_ -= count;
  }
  uint32_t take(size_t count) {
    const uint32_t value = peek(count);
    drop(count);
    return value;
  }
  void to_byte() { drop(available_ % 8); }
  // More bits were taken than there are.
  bool overrun() const { return next_ > bytes_.size() && (next_ - bytes_.size()) * 8 > available_; }

 private:
  std::span<const uint8_t> bytes_;
  size_t next_ = 0;
  uint64_t bits_ = 0;
  size_t available_ = 0;
};

// A canonical Huffman code: codes of one length are consecutive numbers.
class Huffman {
 public:
  // False for lengths that are no prefix code. An incomplete code is one as long as nobody uses
  // what is missing: files with a single distance have that.
  bool build(std::span<const uint8_t> lengths) {
    count_.fill(0);
    for (const uint8_t length : lengths) ++count_[length];
    count_[0] = 0;
    std::array<uint16_t, kMaxCodeBits + 2> first{};
    uint32_t code = 0;
    std::array<uint32_t, kMaxCodeBits + 1> next_code{};
    for (size_t length = 1; length <= kMaxCodeBits; ++length) {
      next_code[length] = code;
      code += count_[length];
      if (code > uint32_t{1} << length) return false;
      code <<= 1;
      first[length + 1] = static_cast<uint16_t>(first[length] + count_[length]);
    }
    fast_.fill(0);
    for (size_t symbol = 0; symbol < lengths.size(); ++symbol) {
      const size_t length = lengths[symbol];
      if (length == 0) continue;
      symbols_[first[length]++] = static_cast<uint16_t>(symbol);
      const uint32_t assigned = next_code[length]++;
      if (length <= kFastBits) fill_fast(assigned, length, symbol);
    }
    return true;
  }

  // -1 for a code that is not assigned.
  int decode(BitReader& bits) const {
    const uint16_t entry = fast_[bits.peek(kFastBits)];
    if (entry != 0) {
      bits.drop(entry & 15);
      return entry >> 4;
    }
    const uint32_t ahead = bits.peek(kMaxCodeBits);
    uint32_t code = 0, first = 0, index = 0;
    for (size_t length = 1; length <= kMaxCodeBits; ++length) {
      code |= ahead >> (length - 1) & 1;
      if (code - first < count_[length]) {
        bits.drop(length);
        return symbols_[index + code - first];
      }
      index += count_[length];
      first = (first + count_[length]) << 1;
      code <<= 1;
    }
    return -1;
  }

 private:
  // Codes come most significant bit first, so as an index they are reversed; the bits behind them
  // can be anything.
  void fill_fast(uint32_t code, size_t length, size_t symbol) {
    uint32_t reversed = 0;
    for (size_t bit = 0; bit < length; ++bit) reversed |= (code >> bit & 1) << (length - 1 - bit);
    for (size_t index = reversed; index < fast_.size(); index += size_t{1} << length) {
      fast_[index] = static_cast<uint16_t>(symbol << 4 | length);
    }
  }

  std::array<uint16_t, kMaxCodeBits + 1> count_{};       // codes of each length
  std::array<uint16_t, 288> symbols_{};                  // by length, then by number
  std::array<uint16_t, size_t{1} << kFastBits> fast_{};  // symbol << 4 | length, 0 for longer codes
};

class Inflater {
 public:
  Inflater(std::span<const uint8_t> deflated, std::span<uint8_t> out)
      : bits_(deflated), out_(out) {}

  bool run() {
    for (bool last = false; !last;) {
      last = bits_.take(1) != 0;
      switch (bits_.take(2)) {
        case 0:
          if (!stored_block()) return false;
          break;
        case 1:
          if (!fixed_codes() || !compressed_block()) return false;
          break;
        case 2:
          if (!dynamic_codes() || !compressed_block()) return false;
          break;
        default:
          return false;
      }
    }
    return written_ == out_.size();
  }

 private:
  bool stored_block() {
    bits_.to_byte();
    const uint32_t size = bits_.take(16), complement = bits_.take(16);
    if ((size ^ complement) != 0xFFFF || size > out_.size() - written_) return false;
    for (uint32_t i = 0; i < size; ++i) out_[written_++] = static_cast<uint8_t>(bits_.take(8));
    return !bits_.overrun();
  }

  bool fixed_codes() {
    std::array<uint8_t, 288> lengths;
    for (size_t i = 0; i < lengths.size(); ++i) {
      lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    }
    std::array<uint8_t, 30> distances;
    distances.fill(5);
    return literals_.build(lengths) && distances_.build(distances);
  }

  bool dynamic_codes() {
    const size_t literals = 257 + bits_.take(5), distances = 1 + bits_.take(5);
    const size_t code_lengths = 4 + bits_.take(4);
    constexpr uint8_t kOrder[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    std::array<uint8_t, 19> small{};
    for (size_t i = 0; i < code_lengths; ++i)
      small[kOrder[i]] = static_cast<uint8_t>(bits_.take(3));
    if (literals > 286 || distances > 30 || !literals_.build(small)) return false;

    std::array<uint8_t, 286 + 30> lengths{};
    for (size_t i = 0; i < literals + distances;) {
      const int symbol = literals_.decode(bits_);
      if (symbol < 0 || bits_.overrun() || (symbol == 16 && i == 0)) return false;
      if (symbol < 16) {
        lengths[i++] = static_cast<uint8_t>(symbol);
        continue;
      }
      const uint8_t value = symbol == 16 ? lengths[i - 1] : 0;
      size_t repeat = symbol == 16   ? 3 + bits_.take(2)
                      : symbol == 17 ? 3 + bits_.take(3)
                                     : 11 + bits_.take(7);
      if (repeat > literals + distances - i) return false;
      while (repeat-- > 0) lengths[i++] = value;
    }
    const std::span<const uint8_t> all(lengths);
    return literals_.build(all.first(literals)) &&
           distances_.build(all.subspan(literals, distances));
  }

  bool compressed_block() {
    constexpr uint16_t kLength[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                    31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    constexpr uint8_t kLengthBits[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                       2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    constexpr uint16_t kDistance[] = {
        1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
        193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    constexpr int kEnd = 256;
    while (true) {
      const int symbol = literals_.decode(bits_);
      if (symbol < 0 || bits_.overrun()) return false;
      if (symbol == kEnd) return true;
      if (symbol < kEnd) {
        if (written_ == out_.size()) return false;
        out_[written_++] = static_cast<uint8_t>(symbol);
        continue;
      }
      const auto index = static_cast<size_t>(symbol - kEnd - 1);
      if (index >= std::size(kLength)) return false;
      const size_t length = kLength[index] + bits_.take(kLengthBits[index]);
      const int code = distances_.decode(bits_);
      if (code < 0 || static_cast<size_t>(code) >= std::size(kDistance)) return false;
      const size_t extra = code < 4 ? 0 : static_cast<size_t>(code) / 2 - 1;
      const size_t distance = kDistance[code] + bits_.take(extra);
      if (distance > written_ || length > out_.size() - written_) return false;
      // The source may overlap what is written: byte by byte, in this order.
      for (size_t i = 0; i < length; ++i, ++written_) out_[written_] = out_[written_ - distance];
    }
  }

  BitReader bits_;
  std::span<uint8_t> out_;
  size_t written_ = 0;
  Huffman literals_, distances_;
};

}  // namespace

bool inflate(std::span<const uint8_t> deflated, std::span<uint8_t> out) {
  return Inflater(deflated, out).run();
}

}  // namespace lightcap::internal
