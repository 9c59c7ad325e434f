#include "weights_converter/sha256.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "weights_converter/checkpoint/mapped_file.h"

namespace lightcap::internal {
namespace {

using State = std::array<uint32_t, 8>;

constexpr size_t kBlock = 64;

// The first 32 bits of the fractions of the cube roots of the first 64 primes.
constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

uint32_t load_big_endian(const uint8_t* bytes) {
  return static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 |
         static_cast<uint32_t>(bytes[2]) << 8 | static_cast<uint32_t>(bytes[3]);
}

// One round. Instead of moving eight variables along, the caller renames them.
inline void round(uint32_t a, uint32_t b, uint32_t c, uint32_t& d, uint32_t e, uint32_t f,
                  uint32_t g, uint32_t& h, uint32_t word) {
  h += (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + (g ^ (e & (f ^ g))) + word;
  d += h;
  h += (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) | (c & (a | b)));
}

void add_block(State& state, const uint8_t* block) {
  std::array<uint32_t, 64> w;  // the message schedule
  for (size_t i = 0; i < 16; ++i) w[i] = load_big_endian(block + 4 * i);
  for (size_t i = 16; i < 64; ++i) {
    const uint32_t early = w[i - 15], late = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (std::rotr(early, 7) ^ std::rotr(early, 18) ^ early >> 3) +
           (std::rotr(late, 17) ^ std::rotr(late, 19) ^ late >> 10);
  }
  auto [a, b, c, d, e, f, g, h] = state;
  for (size_t i = 0; i < 64; i += 8) {
    round(a, b, c, d, e, f, g, h, w[i] + kRound[i]);
    round(h, a, b, c, d, e, f, g, w[i + 1] + kRound[i + 1]);
    round(g, h, a, b, c, d, e, f, w[i + 2] + kRound[i + 2]);
    round(f, g, h, a, b, c, d, e, w[i + 3] + kRound[i + 3]);
    round(e, f, g, h, a, b, c, d, w[i + 4] + kRound[i + 4]);
    round(d, e, f, g, h, a, b, c, w[i + 5] + kRound[i + 5]);
    round(c, d, e, f, g, h, a, b, w[i + 6] + kRound[i + 6]);
    round(b, c, d, e, f, g, h, a, w[i + 7] + kRound[i + 7]);
  }
  const State mixed = {a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < state.size(); ++i) state[i] += mixed[i];
}

class Sha256 {
 public:
  void add(std::span<const uint8_t> bytes) {
    size_ += bytes.size();
    if (!rest_.empty()) {
      const auto part = bytes.first(std::min(bytes.size(), kBlock - rest_.size()));
      rest_.insert(rest_.end(), part.begin(), part.end());
      bytes = bytes.subspan(part.size());
      if (rest_.size() < kBlock) return;
      add_block(state_, rest_.data());
    }
    for (; bytes.size() >= kBlock; bytes = bytes.subspan(kBlock)) add_block(state_, bytes.data());
    rest_.assign(bytes.begin(), bytes.end());
  }

  std::string hex() {
    // The rest, a one bit, zeros, and the length in bits: one block or two.
    std::vector<uint8_t> last = rest_;
    last.push_back(0x80);
    last.resize(rest_.size() + 9 <= kBlock ? kBlock : 2 * kBlock);
    for (size_t i = 0; i < 8; ++i) {
      last[last.size() - 1 - i] = static_cast<uint8_t>(size_ * 8 >> (8 * i));
    }
    for (size_t at = 0; at < last.size(); at += kBlock) add_block(state_, last.data() + at);
    std::string text;
    for (const uint32_t word : state_) {
      for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
    }
    return text;
  }

 private:
  State state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint64_t size_ = 0;
  std::vector<uint8_t> rest_;
};

}  // namespace

std::string sha256_hex(std::span<const uint8_t> bytes) {
  Sha256 sha;
  sha.add(bytes);
  return sha.hex();
}

std::string sha256_of_file(const MappedFile& file) {
  Sha256 sha;
  file.read([&sha](std::span<const uint8_t> piece) { sha.add(piece); });
  return sha.hex();
}

std::vector<std::string> sha256_of_files(std::span<const MappedFile* const> files) {
  std::vector<std::string> hashes(files.size());
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (size_t i = next++; i < files.size(); i = next++) hashes[i] = sha256_of_file(*files[i]);
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  const size_t useful = std::min<size_t>(files.size(), std::thread::hardware_concurrency());
  try {
    threads.reserve(useful);
    while (threads.size() + 1 < useful) threads.emplace_back(work);
  } catch (const std::system_error&) {
    // The system gives no more threads: those that there are will do.
  } catch (const std::bad_alloc&) {
  }
  work();
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
  return hashes;
}

}  // namespace lightcap::internal
